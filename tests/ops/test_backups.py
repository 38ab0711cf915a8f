"""J10: what a backup has is what there was, and it is believed when it has been restored."""

from __future__ import annotations

import datetime as dt
import gzip
import hashlib
import json
import os
import random
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import obstore
import pytest
import yaml
from moto.server import ThreadedMotoServer

from journal.records import open_journal, write_blocks
from onefold.app.main import run
from onefold.domain.errors import BackupError, ConfigError, JournalDamaged, JournalError
from onefold.domain.records import SessionStart
from onefold.journal import Head, Journal, atomic_jsonl_append, head, read, verify
from onefold.ops.backup_config import BackupSettings
from onefold.ops.backups import Manifest, Recorded, Stored, Vault, _named

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, str]]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {
        "endpoint": f"http://{host}:{port}",
        "region": "eu-central-1",
        "access_key_id": "testing",
        "secret_access_key": "testing",
    }
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=options["endpoint"],
        region_name=options["region"],
        aws_access_key_id="testing",
        aws_secret_access_key="testing",  # noqa: S106 - of a server that lives for this test
    )
    client.create_bucket(
        Bucket="backups", CreateBucketConfiguration={"LocationConstraint": options["region"]}
    )
    yield options
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def vault(request: pytest.FixtureRequest, tmp_path: Path) -> Vault:
    if request.param == "folder":
        return Vault(BackupSettings(to="copies"), tmp_path)
    options = request.getfixturevalue("s3")
    prefix = f"s3://backups/{tmp_path.name}"
    return Vault(BackupSettings(to=prefix, **options), tmp_path)


def world(tmp_path: Path) -> tuple[dict[str, Path], Path]:
    """Make a journal of several segments, parameters, a switch, and what is to be left out."""
    folder = tmp_path / "work"
    journal = folder / "journal" / "main" / "live-1"
    with open_journal(journal, segment_bytes=2_000) as one:
        write_blocks(one, [3] * 30)
    atomic_jsonl_append(folder / "governance" / "main.jsonl", {"version": 1})
    control = folder / "journal" / "main" / "control"
    (control / "inbox").mkdir(parents=True)
    (control / "KILL").write_text("by hand\n")
    (control / "inbox" / "1-a.json").write_text("{}")
    for name in ("heartbeat.json", "evidence.key", ".draft.1.tmp", "main.instance"):
        (folder / "journal" / "main" / name).write_text("x")
    (folder / "onefold.yaml").write_text("account: {}\n")
    sources = {name: folder / name for name in ("journal", "governance", "onefold.yaml")}
    return sources, journal


def test_what_is_restored_is_what_there_was(vault: Vault, tmp_path: Path) -> None:
    sources, journal = world(tmp_path)
    taken = vault.take(sources, version="1", now=NOW)
    assert taken.manifest == vault.manifest()
    vault.verify(taken.manifest)
    restored = tmp_path / "restored"
    vault.restore(taken.manifest, restored)
    found = {p.relative_to(restored).as_posix() for p in restored.rglob("*") if p.is_file()}
    assert found >= {"governance/main.jsonl", "journal/main/control/KILL", "onefold.yaml"}
    left_out = (".key", ".tmp", "beat.json", ".instance", "a.json")
    assert not [name for name in found if name.endswith(left_out)]
    copy = restored / "journal" / "main" / "live-1"
    assert [e.raw for e in read(copy)] == [e.raw for e in read(journal)]
    assert verify(copy).head == head(journal)
    with pytest.raises(ConfigError, match="is not empty"):
        vault.restore(taken.manifest, restored)


def test_only_what_is_new_is_sent(vault: Vault, tmp_path: Path) -> None:
    sources, journal = world(tmp_path)
    first = vault.take(sources, version="1", now=NOW)
    assert first.sent == len(first.manifest.files)
    again = vault.take(sources, version="1", now=NOW + timedelta(hours=1))
    assert again.sent == 0
    with open_journal(journal, segment_bytes=2_000) as one:
        write_blocks(one, [1])
    later = vault.take(sources, version="1", now=NOW + timedelta(hours=2))
    assert later.sent == 1
    assert vault.names() == [x.manifest.name for x in (first, again, later)]
    for one in (first, again, later):
        vault.verify(vault.manifest(one.manifest.name))


def test_old_backups_go_and_what_others_share_stays(vault: Vault, tmp_path: Path) -> None:
    sources, _ = world(tmp_path)
    config = sources["onefold.yaml"]
    for day in range(5):
        config.write_text(f"account: {{}} # {day}\n")
        vault.take(sources, version="1", now=NOW + timedelta(days=day))
    names = vault.names()
    assert vault.prune(2, now=datetime.now(UTC)) == names[:3]
    assert len(list(vault._listed("blobs"))) == len(vault.manifest().files) + 4, "all are young"
    assert vault.prune(1, now=datetime.now(UTC) + timedelta(days=2)) == names[3:4]
    assert len(list(vault._listed("blobs"))) == len(vault.manifest().files)
    vault.verify(vault.manifest())


def test_what_was_altered_is_found(tmp_path: Path) -> None:
    vault = Vault(BackupSettings(to="copies"), tmp_path)
    sources, _ = world(tmp_path)
    manifest = vault.take(sources, version="1", now=NOW).manifest
    copies = tmp_path / "copies"
    draw = random.Random(7)
    for blob in sorted((copies / "blobs").iterdir()):
        kept = blob.read_bytes()
        place = draw.randrange(10, len(kept) - 8)
        blob.write_bytes(kept[:place] + bytes([kept[place] ^ 1]) + kept[place + 1 :])
        with pytest.raises(BackupError):
            vault.verify(manifest)
        blob.unlink()
        with pytest.raises(BackupError, match="cannot be read"):
            vault.verify(manifest)
        blob.write_bytes(gzip.compress(b"other"))
        with pytest.raises(BackupError, match="another content"):
            vault.verify(manifest)
        blob.write_bytes(kept)
    page = copies / "manifests" / f"{manifest.name}.json"
    kept = page.read_bytes()
    for old, new in ((b'"seq":90', b'"seq":89'), (b"onefold.yaml", b"../../../etc"), (b"{", b"[")):
        page.write_bytes(kept.replace(old, new, 1))
        with pytest.raises(BackupError, match="altered"):
            vault.manifest(manifest.name)


def test_a_manifest_that_leads_out_of_its_folder_writes_nothing(tmp_path: Path) -> None:
    vault = Vault(BackupSettings(to="copies"), tmp_path)
    (tmp_path / "secret").write_text("x")
    for path in ("../out", "/elsewhere/out", "a/../../out", "a\\..\\out", ""):
        made = vault.take({path or ".": tmp_path / "secret"}, version="1", now=NOW).manifest
        if path:
            with pytest.raises(BackupError, match="outside of its folder"):
                vault.restore(made, tmp_path / "restored")
    assert not (tmp_path / "out").exists()


def forged(
    vault: Vault, files: dict[str, bytes], journals: Sequence[Recorded] = (), **more: Any
) -> Manifest:
    """Put a backup into a folder as somebody would who may write there and knows how."""
    stored = []
    for path, content in files.items():
        digest = more.get("sha256") or hashlib.sha256(content).hexdigest()
        packed = more.get("packed") or gzip.compress(content, mtime=0)
        obstore.put(vault._store, f"blobs/{digest}.gz", packed)
        stored.append(Stored(path, digest, more.get("size", len(content))))
    made = _named(Manifest("", NOW.isoformat(), "1", stored, list(journals)))
    obstore.put(vault._store, f"manifests/{made.name}.json", msgspec.json.encode(made))
    return vault.manifest(made.name)


def test_journals_are_verified_whatever_the_manifest_lists(tmp_path: Path) -> None:
    vault = Vault(BackupSettings(to="copies"), tmp_path)
    sources, journal = world(tmp_path)
    good = vault.take(sources, version="1", now=NOW).manifest
    files = {one.path: vault._blob(one) for one in good.files}
    vault.verify(forged(vault, files, good.journals))
    with pytest.raises(BackupError, match="journal/main/live-1 is not listed"):
        vault.verify(forged(vault, files))
    name = next(path for path in files if path.endswith(".jsonl") and "live-1" in path)
    altered = {**files, name: files[name].replace(b"1", b"2", 3)}
    for journals in ((), good.journals):
        with pytest.raises(JournalDamaged):
            vault.verify(forged(vault, altered, journals))
    last = max(path for path in files if path.endswith(".jsonl") and "live-1" in path)
    with pytest.raises(BackupError, match="5 bytes that none seals"):
        vault.verify(forged(vault, {**files, last: files[last] + b"after"}, good.journals))
    [recorded] = good.journals
    elsewhere = msgspec.structs.replace(recorded, path="journal/main/live-2")
    with pytest.raises(JournalError, match="no such folder"):
        vault.verify(forged(vault, files, [recorded, elsewhere]))
    with open_journal(journal, segment_bytes=2_000) as one:
        write_blocks(one, [1])
    longer = vault.take(sources, version="1", now=NOW).manifest  # found by itself
    assert longer.journals[0].seq == recorded.seq + 1
    files = {one.path: vault._blob(one) for one in longer.files}
    with pytest.raises(BackupError, match="goes on after what the backup lists"):
        vault.verify(forged(vault, files, good.journals))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("a\0b", "name cannot be"),
        ("a\nb", "name cannot be"),
        ("/etc/x", "outside of its folder"),
        ("x/../../y", "outside of its folder"),
        (".", "outside of its folder"),
        ("a" * 300, "cannot be written"),
        (".env", "which no backup contains"),
        ("journal/.ENV.local", "which no backup contains"),
        ("keys.json", "which no backup contains"),
        ("journal/main/evidence.key", "which no backup contains"),
        (".env/x", "which no backup contains"),
    ],
)
def test_names_that_no_backup_has_are_refused(tmp_path: Path, path: str, said: str) -> None:
    vault = Vault(BackupSettings(to="copies"), tmp_path)
    made = forged(vault, {path: b"EVIL=1"})
    with pytest.raises(BackupError, match=said):
        vault.restore(made, tmp_path / "out")
    assert not [p for p in (tmp_path / "out").rglob("*") if p.is_file()]


def test_files_that_cannot_be_together_are_refused(tmp_path: Path) -> None:
    vault = Vault(BackupSettings(to="copies"), tmp_path)
    with pytest.raises(BackupError, match="cannot be written"):
        vault.verify(forged(vault, {"a": b"1", "a/b": b"2"}))
    with pytest.raises(BackupError, match="a file twice"):
        vault.verify(forged(vault, {"a": b"1", "./a": b"2"}))


def test_no_more_is_unpacked_than_there_was(tmp_path: Path) -> None:
    vault = Vault(BackupSettings(to="copies"), tmp_path)
    packed = gzip.compress(bytes(200_000_000), 1)
    made = forged(vault, {"x": b""}, sha256="0" * 64, packed=packed, size=10)
    tracemalloc.start()
    try:
        with pytest.raises(BackupError, match="larger than 10"):
            vault.verify(made)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    for wrong in ({"size": -1}, {"sha256": "A" * 64}):
        with pytest.raises(BackupError, match="is altered"):
            forged(vault, {"x": b"1"}, **wrong)


def test_a_vault_on_disk_is_its_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        vault = Vault(BackupSettings(to="copies"), tmp_path)
        sources, _ = world(tmp_path)
        vault.take(sources, version="1", now=NOW)
    finally:
        os.umask(before)
    copies = tmp_path / "copies"
    for path in (copies, *copies.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_damaged_journal_is_not_backed_up(tmp_path: Path) -> None:
    vault = Vault(BackupSettings(to="copies"), tmp_path)
    sources, journal = world(tmp_path)
    segment = sorted(journal.glob("*.jsonl"))[1]
    content = bytearray(segment.read_bytes())
    content[300] ^= 1
    segment.write_bytes(content)
    with pytest.raises(JournalDamaged):
        vault.take(sources, version="1", now=NOW)
    assert vault.names() == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "say where backups go"),
        ({"to": "s4://bucket"}, "no backups can go to s4://"),
        ({"to": "s3://bucket", "endpoint": "http://example.com"}, "needs https"),
    ],
)
def test_a_place_that_cannot_be_meant_is_refused(
    tmp_path: Path, settings: dict[str, object], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        Vault(BackupSettings(**settings), tmp_path)  # type: ignore[arg-type]


def test_a_store_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    options = {
        "endpoint": "http://127.0.0.1:9",
        "access_key_id": "a",
        "secret_access_key": "CANARY",
        "region": "x",
    }
    vault = Vault(BackupSettings(to="s3://bucket/x", **options), tmp_path)  # type: ignore[arg-type]
    with pytest.raises(BackupError) as told:
        vault.names()
    assert "\n" not in str(told.value)
    assert "CANARY" not in str(told.value)


CONFIG = {
    "account": {"name": "main"},
    "instruments": {"AAA": {"kind": "equity"}},
    "data": {"AAA": {"synthetic": {"seed": 1, "bars": 6_000}}},
    "strategies": {"trend": {"kind": "crossover"}, "mine": {"file": "mine.py"}},
    "session": {"pace": {"seconds_per_bar": 0.002}},
    "backups": {"to": "copies", "keep": 3},
}
MINE = """from onefold import FLAT, Strategy


class Mine(Strategy):
    def extract_features(self):
        return {}

    def predict_signal(self, x):
        return self.signal(side=FLAT)
"""


def test_it_is_restored_to_where_the_configuration_looks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 5: a live account that was restored elsewhere than it is read would begin anew."""
    inside, outside = tmp_path / "a", tmp_path / "far"
    inside.mkdir()
    monkeypatch.chdir(inside)
    paths = {"journal": "jj", "governance": "gg/deep", "models": str(outside)}
    raw = {**CONFIG, "paths": paths, "backups": {"to": "../copies"}}
    raw["strategies"] = {"trend": {"kind": "crossover"}}
    (inside / "onefold.yaml").write_text(yaml.safe_dump(raw))
    outside.mkdir()
    (outside / "note.txt").write_text("a model")
    journal = inside / "jj/main/live-a"
    with Journal.open(journal, today=lambda: dt.date(2026, 11, 1)) as opened:
        opened.append(SessionStart(1, "live", "1", "1", "h", {}, data_mode="live"))
        opened.commit()
    hold = ["review", "suppress", "--strategy", "trend", "--reason", "odd"]
    assert run(hold) == 0
    assert run(["backup", "run"]) == 0
    assert run(["backup", "verify"]) == 0
    capsys.readouterr()
    assert run(["backup", "restore", "../again"]) == 0
    said = capsys.readouterr().err
    again = tmp_path / "again"
    assert "account main is stopped" in said
    assert (again / "jj/main/control/KILL").exists()
    assert (again / "jj/main/live-a").is_dir()
    assert (again / "elsewhere/models/note.txt").read_text() == "a model"
    assert f"paths.models of {Path('../again/onefold.yaml')} leads to {outside}" in said
    monkeypatch.chdir(again)
    assert run(["review", "list"]) == 0
    assert "odd" in capsys.readouterr().out


def test_the_command_copies_a_session_that_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onefold.yaml").write_text(yaml.safe_dump(CONFIG))
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-m", "onefold", "run", "--mode", "shadow"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not list((tmp_path / "journal").glob("main/shadow-*/*.jsonl")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        heads = []
        for _ in range(5):
            assert run(["backup", "run", "--json"]) == 0
            [journal] = json.loads(capsys.readouterr().out)["journals"] or [{"seq": 0, "hash": ""}]
            heads.append(Head(journal["seq"], journal["hash"]))
            assert run(["backup", "verify"]) == 0
            capsys.readouterr()
            time.sleep(0.2)
    finally:
        process.terminate()
        process.wait(30)
    assert heads[-1].seq > heads[0].seq > 0
    capsys.readouterr()
    assert run(["backup", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert len(listed) == 3
    assert run(["backup", "restore", "again", "--name", listed[0]["backup"]]) == 0
    [source] = (tmp_path / "journal" / "main").glob("shadow-*")
    [copy] = (tmp_path / "again" / "journal" / "main").glob("shadow-*")
    end = verify(copy).head
    assert verify(source, end).records >= end.seq
    assert (tmp_path / "again" / "mine.py").read_text() == MINE
    monkeypatch.chdir(tmp_path / "again")
    assert run(["replay", str(copy)]) == 0
