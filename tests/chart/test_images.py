"""The images: what they install is what their processes import, and what they run is what the chart runs."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from images import packages
from images.locked import LockError, entries, names_in, selected
from tests.chart.helm import CI_VALUES, ROOT, render
from tests.chart.imports import imported_packages
from tests.chart.pods import pod_templates

Json = Any
IMAGES = tuple(packages.EXTRAS)
PROVIDERS = tuple(f"vgpu.switcher.providers.{name}" for name in ("vsphere", "node_config", "emulated"))
# What each image's containers run; `models` as the catalog imports a model only when one is served.
MODULES = {
    "serving": (
        *("serving.head", "serving.worker", "serving.__main__", "serving.smoke", "serving.check", "serving.app"),
        *(f"models.{path.stem}" for path in sorted((ROOT / "models").glob("*.py")) if path.stem != "__init__"),
    ),
    "autoscaler": ("autoscaler.cli.run", "autoscaler.cli.check", "autoscaler.cli.status", "autoscaler.cli.explain"),
    "extender": ("vgpu.extender.__main__",),
    "deviceplugin": ("vgpu.deviceplugin.__main__",),
    "exporter": ("vgpu.exporter.__main__",),
    # Providers are imported only where the file names them; libvirt's binding is a build argument's.
    "switcher": ("vgpu.switcher.__main__", *PROVIDERS),
}
each_image = pytest.mark.parametrize("image", IMAGES)


def dockerfile(image: str) -> str:
    return (ROOT / "images" / image / "Dockerfile").read_text()


def test_every_folder_is_an_image() -> None:
    assert {path.parent.name for path in (ROOT / "images").glob("*/Dockerfile")} == {*IMAGES}


def installed(image: str) -> list[str]:
    return names_in((ROOT / "images" / image / "packages.txt").read_text())


def test_packages_are_those_of_the_lock() -> None:
    for path, text in packages.files().items():
        assert (ROOT / "images" / path).read_text() == text, f"images/{path}: run make helm"


@each_image
def test_an_image_installs_what_its_processes_import(image: str) -> None:
    assert imported_packages(MODULES[image]) - {*installed(image)} == set()


@each_image
def test_everything_is_pinned_by_hash(image: str) -> None:
    names = [*installed(image), *names_in((ROOT / "images" / "build-packages.txt").read_text())]
    text = selected((ROOT / "requirements.lock").read_text(), names)
    assert len(re.findall(r"^\S+==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)) == len(names)


def test_the_binding_that_is_compiled_is_pinned_by_hash_too() -> None:
    [command] = re.findall(r"pip wheel (--require-hashes --requirement \S+)", dockerfile("switcher"))
    pinned = (ROOT / command.rpartition(" ")[2]).read_text()
    assert re.findall(r"^(\S+)==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", pinned, re.MULTILINE) == ["libvirt-python"]


LOCK = """\
# by uv
a-b==1.0 \\
    --hash=sha256:1 \\
    --hash=sha256:2
    # via c
c[x]==2!3 \\
    --hash=sha256:4
"""


def test_a_lock_is_read_entry_by_entry() -> None:
    one, other = "a-b==1.0 \\\n    --hash=sha256:1 \\\n    --hash=sha256:2", "c[x]==2!3 \\\n    --hash=sha256:4"
    assert entries(LOCK) == {"a-b": one, "c": other}
    assert selected(LOCK, ["c"]) == f"{other}\n"
    assert names_in("# c\n\na\nb-c\n") == ["a", "b-c"]


def test_what_the_lock_lacks_is_named() -> None:
    with pytest.raises(LockError, match=r"requirements.lock has no d, e; run make lock, then make helm"):
        selected(LOCK, ["e", "c", "d"])
    with pytest.raises(LockError, match=r"httpx is needed and not in requirements.lock; run make lock"):
        packages.closure(["httpx>=0.28"], {}, set())
    assert packages.closure(["httpx>=0.28"], {}, {"httpx"}) == set()


@each_image
def test_hadolint_finds_nothing(image: str) -> None:
    path = ROOT / "images" / image / "Dockerfile"
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, path], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


@each_image
def test_an_image_runs_as_the_chart_says(image: str) -> None:
    """Uid, ports and commands; the chart may take another uid where its values say why."""
    text = dockerfile(image)
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE) == ["10001:10001"]
    [exposed] = re.findall(r"^EXPOSE (.*)$", text, re.MULTILINE)
    used = [
        container
        for files in ((), *((path,) for path in CI_VALUES))
        for pod in pod_templates(render(files=files))
        for container in pod.containers
        if f"vgpu-serve/{image}:" in container["image"]
    ]
    assert used, f"no container of the chart runs vgpu-serve/{image}"
    ports = {str(port["containerPort"]) for container in used for port in container.get("ports", ())}
    assert ports == {*exposed.split()}
    started = [json.loads(words) for words in re.findall(r"^(?:ENTRYPOINT|CMD) (\[.*\])$", text, re.MULTILINE)]
    commands = [container["command"] for container in used]
    assert any(command[: len(started[0])] == started[0] for command in commands), (started, commands)


@each_image
def test_nothing_is_installed_without_a_hash(image: str) -> None:
    found = re.findall(r"pip (?:--python \S+ )?install .*", dockerfile(image))
    assert len(found) == 3
    assert [line for line in found if "--require-hashes" not in line and "--no-index" not in line] == []


def test_only_sources_reach_a_build() -> None:
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {
        source.partition("/")[0]
        for image in IMAGES
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", dockerfile(image), re.MULTILINE)
        for source in line.split()
    }
    assert kept == copied


@pytest.mark.skipif(shutil.which("buildah") is None, reason="no buildah on this machine")
@pytest.mark.skipif(
    shutil.which("mmdebstrap") is None, reason="no mmdebstrap, which makes the base image, on this machine"
)
@pytest.mark.timeout(900)
def test_the_smallest_image_builds_and_runs(tmp_path: Path) -> None:
    """On a base of Debian's own packages, for none can be pulled everywhere: two minutes, most of them the base."""
    base, tag = tmp_path / "base.tar", "localhost/vgpu-serve/exporter:test"
    _call(
        "mmdebstrap", "--quiet", "--variant=minbase", "--include=python3,python3-venv,ca-certificates", "bookworm", base
    )
    store = ("--root", tmp_path / "store", "--runroot", tmp_path / "run", "--storage-driver", "vfs")
    holder = _call("buildah", *store, "from", "scratch")
    _call("buildah", *store, "add", "--quiet", holder, base, "/")
    _call("buildah", *store, "commit", "--quiet", holder, "localhost/base:test")
    try:
        _call(
            *(
                "buildah",
                *store,
                "build",
                "--quiet",
                "--isolation",
                "chroot",
                "--build-arg",
                "BASE_IMAGE=localhost/base:test",
            ),
            *("--volume", "/etc/ssl/certs:/etc/ssl/certs:ro", "--file", ROOT / "images/exporter/Dockerfile"),
            *("--tag", tag, ROOT),
        )
        made = _call("buildah", *store, "from", tag)
        said = _call(
            "buildah", *store, "run", "--isolation", "chroot", made, "--", "python", "-m", "vgpu.exporter", "--help"
        )
        assert said.startswith("usage: python -m vgpu.exporter")
        assert _call("buildah", *store, "run", "--isolation", "chroot", made, "--", "id", "-u") == "10001"
    finally:
        _call("buildah", *store, "rm", "--all")
        _call("buildah", *store, "rmi", "--all", "--force")


def _call(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()
