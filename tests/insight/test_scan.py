from __future__ import annotations

import os

from strongroom.insight.scan import MAX_FILE_BYTES, MAX_FILES, MAX_SECONDS, Scan, scan_tree

BAD = 'password = "k9Zq-c4nary-7Wm2"\n'


def scanned(folder, **options) -> Scan:
    scan = Scan.begin(**options)
    scan_tree(folder, scan)
    return scan


def test_files_below_are_read_in_order_and_told_by_line(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b/x.py").write_text("\n" + BAD)
    (tmp_path / "a.py").write_text(BAD)
    (tmp_path / "a.txt").write_text(BAD)
    scan = scanned(tmp_path)
    assert [str(spot) for spot in scan.spots] == [
        f"{tmp_path}/a.py:1 (named-secret)",
        f"{tmp_path}/b/x.py:2 (named-secret)",
    ]
    assert (scan.files, scan.skipped, scan.stopped) == (2, 0, "")


def test_links_hidden_folders_and_environments_are_passed_over(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x.py").write_text(BAD)
    inside = tmp_path / "inside"
    for name in (".git", "node_modules", "venv", "__pycache__"):
        (inside / name).mkdir(parents=True)
        (inside / name / "x.py").write_text(BAD)
    (inside / "link").symlink_to(outside)
    (inside / "link.py").symlink_to(outside / "x.py")
    (inside / "round").symlink_to(inside)
    assert scanned(inside).spots == []


def test_the_folder_itself_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/x.py").write_text(BAD)
    (tmp_path / "dags").symlink_to(tmp_path / "real")
    assert len(scanned(tmp_path / "dags").spots) == 1


def test_what_is_no_readable_text_is_counted_and_not_opened_for_ever(tmp_path):
    (tmp_path / "large.py").write_text(BAD + "#" * MAX_FILE_BYTES)
    (tmp_path / "latin.py").write_bytes(b"x = '\xe9'\n" + BAD.encode())
    os.mkfifo(tmp_path / "pipe.py")
    scan = scanned(tmp_path)
    assert (scan.files, scan.skipped, scan.spots) == (0, 2, [])


def test_it_stops_after_so_many_files_and_says_so(tmp_path):
    for number in range(MAX_FILES + 1):
        (tmp_path / f"{number}.py").touch()
    scan = scanned(tmp_path)
    assert (scan.files, scan.stopped) == (MAX_FILES, f"after {MAX_FILES} files")


def test_it_stops_after_so_long_and_says_so(tmp_path):
    for number in range(5):
        (tmp_path / f"{number}.py").write_text(BAD)
    times = iter([0.0] + [0.1] * 4 + [MAX_SECONDS + 1] * 20)
    scan = scanned(tmp_path, clock=lambda: next(times))
    assert scan.stopped == f"after {MAX_SECONDS:g} s"
    assert len(scan.spots) < 5


def test_a_folder_that_is_not_there_holds_nothing(tmp_path):
    assert scanned(tmp_path / "nowhere").files == 0


def test_images_are_looked_for_in_the_project_itself_only(tmp_path):
    images = ("Dockerfile", "web.Dockerfile", "Dockerfile.prod")
    for name in (*images, "compose.yaml", "docker-compose.override.yml"):
        (tmp_path / name).write_text("ENV DB_PASSWORD=k9Zq-c4nary-7Wm2\n")
    (tmp_path / "below").mkdir()
    (tmp_path / "below/Dockerfile").write_text("ENV DB_PASSWORD=k9Zq-c4nary-7Wm2\n")
    scan = Scan.begin()
    scan_tree(tmp_path, scan, is_project=True)
    assert len(scan.spots) == 5
