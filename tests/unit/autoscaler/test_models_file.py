"""The models file on a disk: taken when it can be followed, refused as a whole when it cannot, and never half read."""

import logging
from pathlib import Path

import pytest

from autoscaler import config
from autoscaler.adapters.models_file import ModelsFile
from autoscaler.core.spec import FleetSpec
from autoscaler.ports import Change, ModelsFileSeen

ONE = "models: {minilm: {slot: v100-8q-8GB, objective_p95_ms: 200, source: text_embedder}}\n"
STRICTER = ONE.replace("200", "100")
TWO = ONE.replace("models: {", "models: {ocr: {slot: v100-4q-4GB, objective_p95_ms: 500}, ")
WRONG = "models: {minilm: {slot: tape, objectives: 1}}\n"


def read_twice(file: ModelsFile) -> ModelsFileSeen:
    """The reading with which a file that was written in place is taken, or refused."""
    file.read()
    return file.read()


def asleep(spec: FleetSpec) -> list[str]:
    return [f"{model.name}: may sleep" for model in spec.models if model.min_replicas == 0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "models.yaml"
    made.write_text(ONE)
    return made


@pytest.fixture
def file(path: Path) -> ModelsFile:
    return ModelsFile(path, check=asleep)


def names(seen: ModelsFileSeen) -> list[str]:
    return [model.name for model in seen.spec.models]


def told(path: Path, text: str) -> tuple[str, ...]:
    """What the loader says against a text, with the file's name."""
    with pytest.raises(config.ConfigError) as caught:
        config.read(path, text.encode())
    return tuple(str(caught.value).splitlines())


def test_a_file_that_stays_as_it_is_brings_no_change(file: ModelsFile) -> None:
    first = file.read()
    assert first == file.read() == ModelsFileSeen(spec=file.spec, about=first.about)
    assert [(about.name, about.source) for about in first.about] == [("minilm", "text_embedder")]


def test_a_file_that_cannot_be_followed_at_the_start_is_refused(path: Path) -> None:
    path.write_text(WRONG)
    with pytest.raises(config.ConfigError) as caught:
        ModelsFile(path)
    assert tuple(str(caught.value).splitlines()) == told(path, WRONG)
    with pytest.raises(config.ConfigError, match="No such file or directory; give a readable models file"):
        ModelsFile(path.with_name("none"))


def test_a_file_written_in_place_is_taken_when_two_readings_are_the_same(path: Path, file: ModelsFile) -> None:
    path.write_text(TWO)
    seen = [file.read() for _ in range(3)]
    assert [names(each) for each in seen] == [["minilm"], ["ocr", "minilm"], ["ocr", "minilm"]]
    assert [each.change for each in seen] == [None, Change.APPLIED, None]


def test_half_a_file_is_never_followed(path: Path, file: ModelsFile) -> None:
    """Cut behind the first model it would be a valid file without the second."""
    path.write_text(TWO)
    before = read_twice(file)
    for text in ("", "models: {", ONE, TWO + "# the end\n"):
        path.write_text(text)
        seen = file.read()
        assert (seen.spec, seen.problems, seen.change) == (before.spec, (), None)
    assert file.read().change is Change.APPLIED


def mounted(directory: Path, text: str) -> Path:
    """A ConfigMap's volume as kubelet lays it out."""
    (directory / "..1").mkdir(parents=True)
    (directory / "..1" / "models.yaml").write_text(text)
    (directory / "..data").symlink_to("..1")
    (directory / "models.yaml").symlink_to("..data/models.yaml")
    return directory / "models.yaml"


def swap(directory: Path, number: int, text: str) -> None:
    """The volume changes as kubelet changes it: a new folder, and a symlink that is renamed over the old one."""
    folder = directory / f"..{number}"
    folder.mkdir()
    (folder / "models.yaml").write_text(text)
    (directory / "..new").symlink_to(folder.name)
    (directory / "..new").rename(directory / "..data")


def test_a_mounted_configmap_is_taken_with_the_first_reading(tmp_path: Path) -> None:
    file = ModelsFile(mounted(tmp_path / "etc", ONE))
    swap(tmp_path / "etc", 2, TWO)
    seen = file.read()
    assert (names(seen), seen.change) == (["ocr", "minilm"], Change.APPLIED)
    swap(tmp_path / "etc", 3, TWO)
    assert file.read().change is None


def test_a_file_that_cannot_be_followed_leaves_the_last_one_in_force(
    path: Path, file: ModelsFile, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_text(WRONG)
    file.read()
    with caplog.at_level(logging.WARNING):
        seen = [file.read() for _ in range(3)]
    assert [names(each) for each in seen] == [["minilm"]] * 3
    assert [each.problems for each in seen] == [told(path, WRONG)] * 3
    assert len(told(path, WRONG)) == 2
    assert [each.change for each in seen] == [Change.REFUSED, None, None]
    assert caplog.text.count("models file refused") == len(told(path, WRONG))


def test_another_file_that_cannot_be_followed_is_refused_anew(path: Path, file: ModelsFile) -> None:
    path.write_text(WRONG)
    read_twice(file)
    path.write_text("models: {}\n")
    assert file.read().change is None
    seen = file.read()
    assert (seen.problems, seen.change) == (told(path, "models: {}\n"), Change.REFUSED)


def test_the_same_faults_in_other_words_are_a_change_too(path: Path, file: ModelsFile) -> None:
    path.write_text(WRONG)
    read_twice(file)
    path.write_text(WRONG + "# again\n")
    assert [file.read().change, file.read().change, file.read().change] == [None, Change.REFUSED, None]


def test_a_file_that_is_put_back_is_no_problem_any_more(path: Path, file: ModelsFile) -> None:
    path.write_text(WRONG)
    read_twice(file)
    path.write_text(ONE)
    seen = file.read()
    assert (seen.problems, seen.change, names(seen)) == ((), None, ["minilm"])


def test_a_file_that_is_mended_is_followed(path: Path, file: ModelsFile) -> None:
    path.write_text(WRONG)
    read_twice(file)
    path.write_text(STRICTER)
    seen = read_twice(file)
    assert (seen.problems, seen.change) == ((), Change.APPLIED)
    assert seen.spec.models[0].objective_p95_ms == 100


def test_a_file_that_cannot_be_read_is_a_problem_until_it_can(path: Path, file: ModelsFile) -> None:
    path.unlink()
    seen = [file.read() for _ in range(2)]
    said = f"{path}: No such file or directory; make it readable again: what it said last is followed until then"
    assert [each.problems for each in seen] == [(said,)] * 2
    assert [each.change for each in seen] == [Change.REFUSED, None]
    path.mkdir()
    assert "Is a directory" in file.read().problems[0]
    path.rmdir()
    path.write_text(ONE)
    assert file.read() == ModelsFileSeen(spec=file.spec, about=file.read().about)


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"models: [", b"[" * 5000, b"- 1\n", b"models: {a: {slot: &x [*x]}}\n"]
)
def test_no_content_at_all_makes_it_fail(path: Path, file: ModelsFile, content: bytes) -> None:
    path.write_bytes(content)
    seen = read_twice(file)
    assert seen.change is Change.REFUSED
    assert seen.problems
    assert all(line.startswith(f"{path}: ") for line in seen.problems)
    assert names(seen) == ["minilm"]


def test_what_else_speaks_against_a_file_refuses_it(path: Path, file: ModelsFile) -> None:
    path.write_text(ONE.replace("objective", "autoscaling: {min_replicas: 0}, objective"))
    seen = read_twice(file)
    assert (seen.problems, seen.change) == ((f"{path}: minilm: may sleep",), Change.REFUSED)


def test_a_model_of_another_source_does_other_work(path: Path, file: ModelsFile) -> None:
    path.write_text(TWO.replace("text_embedder", "file_type"))
    assert read_twice(file).reworked == {"minilm"}
    assert file.read().reworked == frozenset()
    path.write_text(STRICTER.replace("text_embedder", "file_type"))
    seen = read_twice(file)
    assert (seen.change, seen.reworked) == (Change.APPLIED, frozenset())


@pytest.mark.parametrize("odd", ["revision: 2024-13-01", "parameters: {2024-12-01: a, 1: b}"])
def test_odd_words_of_yaml_end_no_reading(file: ModelsFile, path: Path, odd: str) -> None:
    path.write_text(ONE.replace("source:", f"{odd}, source:"))
    seen = read_twice(file)
    assert seen.change is Change.REFUSED
