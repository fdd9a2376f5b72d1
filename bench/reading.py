"""Reading transcripts, beside the fastest rival on the same files in the same minutes.

Needs the input generators (SESSION_RELAY_DATA) and ccusage's program (CCUSAGE; CCUSAGE_OLD for 20.0.11 beside it). BENCH_SIZES
names the homes ("50MB,500MB" by default), BENCH_ROUNDS how often each program runs (5), BENCH_KEEP a folder that keeps them for the next time. Programs run in turn, A B A B,
and every ratio is the median of the pairs: on a busy machine only ratios mean something.
"""
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles

from bench.table import Figure

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(os.environ.get("SESSION_RELAY_DATA", ROOT.parent / "shared" / "data"))
SEED = 7
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
DAYS = "import sys; from local_agent.days import run; run(sys.argv[1:])"
LIVE_ANSWERS = 10_000
PAUSE_S = 0.004
POLLS = 300
GOALS = {"500MB": ("≤ 0.40", "≤ 0.45"), "2GB": ("≤ 0.35", ""), "50MB": ("", "≤ 0.60")}

Run = tuple[float, float, float]
"""CPU seconds of it and its helper, wall seconds, peak MiB of the larger of them."""


def figures() -> list[Figure]:
    rivals = {name: path for name, path in (("20.0.24", os.environ.get("CCUSAGE")), ("20.0.11", os.environ.get("CCUSAGE_OLD"))) if path}
    if not rivals:
        raise RuntimeError("name ccusage's program in CCUSAGE (npm i ccusage@20.0.24; the program is in its platform package)")
    if not (DATA / "gen_transcripts.py").is_file():
        raise RuntimeError(f"no input generators in {DATA}: name their folder in SESSION_RELAY_DATA")
    found: list[Figure] = []
    with workshop() as folder:
        for size in os.environ.get("BENCH_SIZES", "50MB,500MB").split(","):
            found += of_one_home(folder, size, rivals)
        found += live(folder)
        found += idle(folder)
    return found


@contextmanager
def workshop() -> Iterator[Path]:
    kept = os.environ.get("BENCH_KEEP")
    if kept:
        Path(kept).mkdir(parents=True, exist_ok=True)
        yield Path(kept)
        return
    with tempfile.TemporaryDirectory(prefix="reading-") as name:
        yield Path(name)


def home(folder: Path, size: str) -> Path:
    made = folder / f"home-{size}"
    if not (made / "truth.json").exists():
        shutil.rmtree(made, ignore_errors=True)
        subprocess.run([sys.executable, str(DATA / "gen_transcripts.py"), str(SEED), size, str(made), "--no-edge"], check=True, capture_output=True)
        settle()
    return made


def settle() -> None:
    """A folder that changed within the last two seconds may change again within one tick of its clock, so it is not trusted."""
    time.sleep(2.5)


# -- whole processes, in turn


def surroundings(**more: str) -> dict[str, str]:
    """As an installed program has them: with its byte code, whatever this shell says of that."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / "reading-bytecode"), **more}


def run(words: Sequence[str], **environ: str) -> Run:
    began = time.monotonic()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=surroundings(**environ))
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        raise RuntimeError(f"{words[0]} failed")
    return used.ru_utime + used.ru_stime, time.monotonic() - began, used.ru_maxrss / 1024


def together(words: Sequence[str]) -> float:
    """The most memory, in MiB, that a program and its helper hold at once; what they share counts once. In a run of its own: looking costs time."""
    most = 0
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, env=surroundings()) as process:
        while process.poll() is None:
            most = max(most, sum(proportional(pid) for pid in (process.pid, *children(process.pid))))
            time.sleep(0.005)
    return most / 1024


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def proportional(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def in_turn(ours: Callable[[], Run], rivals: dict[str, str], home: Path, rounds: int = ROUNDS) -> tuple[list[Run], dict[str, list[Run]]]:
    mine: list[Run] = []
    theirs: dict[str, list[Run]] = {name: [] for name in rivals}
    for _ in range(rounds):
        mine.append(ours())
        for name, program in rivals.items():
            theirs[name].append(run([program, "claude", "daily", "--json", "--offline"], CLAUDE_CONFIG_DIR=str(home)))
    return mine, theirs


def ratio(ours: list[Run], theirs: list[Run], which: int) -> float:
    return median(a[which] / b[which] for a, b in zip(ours, theirs, strict=True))


def of_one_home(folder: Path, size: str, rivals: dict[str, str]) -> list[Figure]:
    source, archive = home(folder, size), folder / "archive.db"
    words = [sys.executable, "-c", DAYS, str(archive), str(source)]

    def cold() -> Run:
        forget(archive)
        return run(words)

    found = compared(f"first reading of {size} of transcripts, with a report", *in_turn(cold, rivals, source), *GOALS.get(size, ("", "")), peak=True)
    forget(archive)
    found.append(Figure(f"first reading of {size}: peak memory of both processes together", together(words), "MiB", "≤ 64", "proportional set size, seen every 5 ms"))
    found += compared(f"new process, nothing changed ({size})", *in_turn(lambda: run(words), rivals, source), "≤ 0.02" if size == "500MB" else "")
    if size != "2GB":
        found += appended(folder, size, source, archive, rivals)
    return found


def compared(what: str, ours: list[Run], theirs: dict[str, list[Run]], cpu_goal: str = "", wall_goal: str = "", *, peak: bool = False) -> list[Figure]:
    found = []
    for name, runs in theirs.items():
        newest = name == "20.0.24"
        found.append(Figure(f"{what}: CPU", ratio(ours, runs, 0), "of ccusage's", cpu_goal if newest else "", f"ccusage {name}, {median(r[0] for r in runs):.2f} s"))
        found.append(Figure(f"{what}: wall", ratio(ours, runs, 1), "of ccusage's", wall_goal if newest else "", f"ccusage {name}, {median(r[1] for r in runs):.2f} s"))
        if peak and newest:
            found.append(Figure(f"{what}: peak memory", ratio(ours, runs, 2), "of ccusage's", "≤ 0.30" if "500MB" in what else "", f"ccusage {name}"))
    if peak:
        found.append(Figure(f"{what}: peak memory", max(r[2] for r in ours), "MiB", "≤ 64"))
    return found


def appended(folder: Path, size: str, source: Path, archive: Path, rivals: dict[str, str]) -> list[Figure]:
    """One percent of the answers more, in a copy of the home; each round from the same archive."""
    copy, before = folder / "copy", folder / "before.db"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(source, copy, symlinks=True)
    settle()
    forget(before)
    run([sys.executable, "-c", DAYS, str(before), str(copy)])
    answers = json.loads((source / "truth.json").read_text())["randomSessions"]["totals"]["answers"]
    more = [sys.executable, str(DATA / "gen_transcripts.py"), "1", "--append", str(max(1, answers // 100)), str(copy), "--at", "2026-11-20T20:00:00Z"]
    subprocess.run(more, check=True, capture_output=True)
    settle()

    def on() -> Run:
        forget(archive)
        shutil.copyfile(before, archive)
        return run([sys.executable, "-c", DAYS, str(archive), str(copy)])

    found = compared(f"new process, 1 % appended ({size})", *in_turn(on, rivals, copy), "≤ 0.05" if size == "500MB" else "")
    shutil.rmtree(copy)
    return found


def forget(archive: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        archive.with_name(archive.name + ending).unlink(missing_ok=True)


# -- a running reader

FOLLOW = """
import sys, time
from pathlib import Path
from local_agent.archive import Archive
from local_agent.readers.claude_code import ClaudeReader
from local_agent.watch import Follower

home, path, wanted = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
archive = Archive(path, source="bench", clock=lambda: time.time_ns() // 10**6)
reader = ClaudeReader([home])
sql = archive.store.connection()
def total():
    return sql.execute("SELECT coalesce(sum(requests), 0) FROM claude_days").fetchone()[0]
def look():
    reader.poll(archive, archive.clock())
    if start is not None:
        print(time.time_ns(), total(), flush=True)
start = None
follower = Follower([reader], look)
reader.poll(archive, archive.clock())
for _ in range(4):  # the looks that follow a beginning
    follower.once(0)
start = total()
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print("ready", start, status["VmRSS"].split()[0], flush=True)
while total() < start + wanted:
    follower.once(5)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print("done", status["VmHWM"].split()[0], status["VmRSS"].split()[0], flush=True)
"""


def live(folder: Path) -> list[Figure]:
    """Answers appended one by one to some sessions of a 50 MB home: when is each committed?"""
    copy = folder / "live"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(home(folder, "50MB"), copy, symlinks=True)
    archive = folder / "live.db"
    forget(archive)
    files = sorted(path for path in (copy / "projects").rglob("*.jsonl") if len(path.stem) == 36)[:4]
    words = [sys.executable, "-c", FOLLOW, str(copy), str(archive), str(LIVE_ANSWERS)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=surroundings()) as reader:
        assert reader.stdout is not None
        _, start, resident = reader.stdout.readline().split()
        told: list[list[str]] = []
        # A pipe that nobody empties would hold the reader up.
        hearing = threading.Thread(target=lambda: told.extend(line.split() for line in reader.stdout or ()))
        hearing.start()
        written = [append(files[n % len(files)], n) for n in range(LIVE_ANSWERS)]
        hearing.join()
    commits = [(int(at), int(total) - int(start)) for at, total, *_ in told if at.isdigit()]
    waits, place = [], 0
    for n, at in enumerate(written, 1):
        while place < len(commits) and commits[place][1] < n:
            place += 1
        if place < len(commits):
            waits.append((commits[place][0] - at) / 1e6)
    shutil.rmtree(copy)
    steps = quantiles(waits, n=100)
    return [
        Figure("appended line → committed, median", median(waits), "ms", "≤ 1"),
        Figure("appended line → committed, p99", steps[98], "ms", "≤ 15"),
        Figure(f"of {LIVE_ANSWERS:,} appended answers missed", LIVE_ANSWERS - len(waits), "", "0"),
        Figure("running reader of 50 MB, resident at rest", int(resident) / 1024, "MiB", "≤ 30"),
        Figure("running reader, peak while following", int(told[-1][1]) / 1024, "MiB", "≤ 64"),
    ]


def append(path: Path, n: int) -> int:
    """One answer in one write, as a tool writes it; when it was there."""
    now = time.time_ns()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now / 1e9)) + f".{now // 1_000_000 % 1000:03}Z"
    line = {
        "parentUuid": None, "isSidechain": False, "cwd": "/home/alice/relay", "sessionId": path.stem, "version": "2.1.140", "gitBranch": "main",
        "message": {"model": "claude-opus-4-7", "id": f"msg_live_{n}", "role": "assistant", "content": [{"type": "text", "text": "word " * 200}],
                    "usage": {"input_tokens": 5, "cache_creation_input_tokens": 900, "cache_read_input_tokens": 20_000, "output_tokens": 300}},
        "requestId": f"req_live_{n}", "type": "assistant", "uuid": f"live-{n}", "timestamp": stamp,
    }  # fmt: skip
    before = b"" if n >= 4 else b"\n"  # the generator leaves some last lines without an end
    with path.open("ab", buffering=0) as file:
        file.write(before + json.dumps(line, separators=(",", ":")).encode() + b"\n")
        at = time.time_ns()
    time.sleep(PAUSE_S)
    return at


# -- an idle reader where nobody tells of changes

IDLE = """
import sys, time
from pathlib import Path
from local_agent.archive import Archive
from local_agent.readers.claude_code import ClaudeReader

archive = Archive(sys.argv[2], source="bench", clock=lambda: time.time_ns() // 10**6)
reader = ClaudeReader([Path(sys.argv[1])])
for _ in range(3):
    reader.poll(archive, archive.clock())
began = time.process_time()
for _ in range(int(sys.argv[3])):
    reader.poll(archive, archive.clock())
print((time.process_time() - began) / int(sys.argv[3]) * 1000)
"""


def idle(folder: Path) -> list[Figure]:
    found = []
    for count, goal in ((2_000, "≤ 0.2"), (20_000, "≤ 1.5")):
        source, archive = folder / f"idle-{count}", folder / "idle.db"
        for n in range(count):
            path = source / "projects" / f"p{n // 50}" / f"{n:036}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b'{"type":"user","message":{"role":"user","content":"hello"}}\n')
        settle()
        forget(archive)
        words = [sys.executable, "-c", IDLE, str(source), str(archive), str(POLLS)]
        spent = subprocess.run(words, capture_output=True, text=True, check=True, env=surroundings()).stdout
        found.append(Figure(f"idle look at {count:,} files without a watch", float(spent), "ms CPU", goal))
        shutil.rmtree(source)
    return found
