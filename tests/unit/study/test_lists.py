"""Lists: what is read from them, and how each kind of bad input is refused."""

from pathlib import Path

import pytest

from vgpu.core.fractions.host import Host
from vgpu.core.fractions.shape import Shape
from vgpu.study.lists import ListRefused, read_nodes, read_pods

NODES = "sn,cpu_milli,memory_mib,gpu,model\n"
PODS = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n"


def file(folder: Path, text: str | bytes) -> Path:
    path = folder / "list.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_nodes_are_read_idle(tmp_path: Path) -> None:
    assert read_nodes(file(tmp_path, NODES + "b,8000,1024,2,T4\na,4000,512,0,\n")) == (
        Host(name="b", cpu_milli=8000, memory_mib=1024, free_units=(1000, 1000), model="T4"),
        Host(name="a", cpu_milli=4000, memory_mib=512, free_units=(), model=""),
    )


def test_pods_are_read_by_name_with_any_further_columns(tmp_path: Path) -> None:
    text = (
        "qos,name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec\n"
        "LS,p3,1000,64,1,320,T4| V100\nBE,p1,2000,64,8,1000,\nBE,p2,500,64,0,0,\nBE,p4,500,64,1,2000,\n"
    )
    assert read_pods(file(tmp_path, text)) == (
        Shape(cpu_milli=2000, memory_mib=64, gpus=8, units=1000),
        Shape(cpu_milli=500, memory_mib=64, gpus=0, units=0),
        Shape(cpu_milli=1000, memory_mib=64, gpus=1, units=320, models=frozenset({"T4", "V100"})),
        Shape(cpu_milli=500, memory_mib=64, gpus=2, units=1000),
    )


def test_a_list_with_the_first_five_columns_only_names_no_models(tmp_path: Path) -> None:
    (pod,) = read_pods(file(tmp_path, "name,cpu_milli,memory_mib,num_gpu,gpu_milli\np,1,2,1,1000\n"))
    assert pod == Shape(cpu_milli=1, memory_mib=2, gpus=1, units=1000)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", ":1: no column name, cpu_milli, memory_mib, num_gpu, gpu_milli;", id="an empty file"),
        pytest.param("name,cpu_milli,memory_mib,num_gpu\n", ":1: no column gpu_milli;", id="a missing column"),
        pytest.param(PODS, ": no line below the heading; give at least one", id="no pod"),
        pytest.param(PODS + "p,1,1,0,0,\n", ": 1 pods and none asks for GPU;", id="no GPU"),
        pytest.param(
            PODS + "p,1,1,1,500,\np,x,1,1,1,\n", ":3: cpu_milli is 'x'; give a whole number, 0 or more", id="text"
        ),
        pytest.param(PODS + "p,-1,1,1,1,\n", ":2: cpu_milli is '-1'; give a whole number", id="a negative number"),
        pytest.param(PODS + "p,1.5,1,1,1,\n", ":2: cpu_milli is '1.5'; give a whole number", id="half a milli-CPU"),
        pytest.param(PODS + "p,,1,1,1,\n", ":2: cpu_milli is ''; give a whole number", id="an empty number"),
        pytest.param(PODS + "p,1,1,1,0,\n", ":2: pod p: 0 units on one GPU: give 1 to 1000", id="zero units"),
        pytest.param(PODS + "p,1,1,1,1500,\n", ":2: pod p: gpu_milli is 1500 on 1 GPU; above 1000", id="no multiple"),
        pytest.param(PODS + "p,1,1,2,2000,\n", ":2: pod p: gpu_milli is 2000 on 2 GPU; above 1000", id="a doubt"),
        pytest.param(PODS + "p,1,1,2,500,\n", ":2: pod p: 500 units on each of 2 GPUs", id="halves of two"),
        pytest.param(PODS + "p,1,1,1,1,T4,x\n", ":2: more fields than the 6 columns", id="too many fields"),
        pytest.param(b"\x1f\x8bnonsense", ": cannot be read: ", id="a broken archive"),
        pytest.param(b"\xff\xfe\x00", ": cannot be read: ", id="no text"),
    ],
)
def test_a_pod_list_that_cannot_be_used_is_refused_with_its_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    path = file(tmp_path, text)
    with pytest.raises(ListRefused) as refused:
        read_pods(path)
    assert str(refused.value).startswith(f"{path}{said}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("sn,cpu_milli,memory_mib,gpu\n", ":1: no column model;", id="a missing column"),
        pytest.param(NODES + "a,1,1,1,T4\na,1,1,1,T4\n", ":3: node name 'a' is given twice", id="a name twice"),
        pytest.param(NODES + ",1,1,1,T4\n", ":2: node name '' is empty", id="no name"),
        pytest.param(NODES + "a,1,1,1,\n", ":2: node a has 1 GPUs and no model; name the model", id="no model"),
        pytest.param(NODES + "a,1,1,1e3,T4\n", ":2: gpu is '1e3'; give a whole number", id="no whole number"),
        pytest.param(NODES + "a,1,1,65,T4\n", ":2: node a has 65 GPUs; a node has at most 64", id="too many GPUs"),
        pytest.param(NODES + "a,1,1,999999999999999,T4\n", ":2: node a has 999999999999999 GPUs;", id="endless GPUs"),
        pytest.param(NODES.strip() + ",gpu\na,1,1,8,T4,9\n", ":1: column gpu is named twice;", id="a column twice"),
        pytest.param("x" * 140_000 + "\n", ":1: field larger than field limit", id="a heading without end"),
        pytest.param(NODES + "a,1,1,0,\n", ": 1 nodes and no GPU among them;", id="no GPU"),
    ],
)
def test_a_node_list_that_cannot_be_used_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    path = file(tmp_path, text)
    with pytest.raises(ListRefused) as refused:
        read_nodes(path)
    assert str(refused.value).startswith(f"{path}{said}")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ListRefused, match=r"nowhere\.csv: cannot be read"):
        read_nodes(tmp_path / "nowhere.csv")
