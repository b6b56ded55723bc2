from __future__ import annotations

from pathlib import Path

import pytest

from speechft.cli.app import main
from speechft.core.errors import DataError, SettingsError
from speechft.core.files import read_jsonl, write_jsonl
from speechft.metrics.measures import direction
from speechft.metrics.published import FBANK, ROWS, best_published
from speechft.metrics.superb import REFERENCES, of_reference, superb_score
from speechft.probing.settings import SUITES
from speechft.reporting.leaderboard.ranking import make_leaderboard
from speechft.reporting.leaderboard.stage import leaderboard
from speechft.reporting.leaderboard.table import markdown, terminal_text
from speechft.reporting.settings import LeaderboardSettings

GOOD = {
    "pr": {"per": 4.0},
    "sid": {"acc": 86.0},
    "er": {"acc": 67.0},
    "sf": {"slot_type_f1": 89.0, "slot_value_cer": 23.0},
}
DATA = {"pr": "librispeech", "sid": "voxceleb1", "er": "iemocap", "sf": "snips"}


def write(folder: Path, suite="paper4", name="mine", seeds=(0,), scores=GOOD, **fields) -> Path:
    records = [
        {
            "encoder": name,
            "encoder_hash": "e",
            "task": task,
            "metric": metric,
            "value": value + seed,
            "direction": direction(metric),
            "split": "test",
            "items": 10,
            "seed": seed,
            "data_hash": f"hash of {task}",
            "data": DATA.get(task, task),
            "suite": suite,
            **fields,
        }
        for seed in seeds
        for task, metrics in scores.items()
        for metric, value in metrics.items()
    ]
    folder.mkdir(parents=True)
    write_jsonl(folder / "results.jsonl", records)
    return folder


def test_own_row_stands_among_published_ones_by_its_score(tmp_path):
    board = make_leaderboard([write(tmp_path / "run")])
    names = [row.name for row in board.ranked]
    assert board.suite == "paper4"
    assert names.index("WavLM Base+") < names.index("mine") < names.index("HuBERT Base")
    assert names[-1] == "FBANK"
    (mine,) = [row for row in board.ranked if not row.source]
    assert mine.score == pytest.approx(superb_score(GOOD, "speech-ft"))
    assert all(row.source for row in board.ranked if row is not mine)
    assert {row.name for row in board.ranked} == {row.name for row in ROWS} | {"mine"}


def test_seeds_are_one_row_with_a_spread(tmp_path):
    write(tmp_path / "run" / "seed-0", seeds=(0,))
    write(tmp_path / "run" / "seed-1", seeds=(1,))
    board = make_leaderboard([tmp_path / "run"])
    (mine,) = [row for row in board.ranked if not row.source]
    assert mine.values["pr", "per"] == [4.0, 5.0]
    assert "4.50 ± 0.71" in markdown(board)


@pytest.mark.parametrize("what", ["encoder_hash", "encoder_id"])
def test_two_encoders_of_one_name_are_no_row_together(tmp_path, what):
    """Trained anew in its place between two evaluations: a score of both would be of neither."""
    parts = [{task: GOOD[task] for task in tasks} for tasks in (("pr", "sid"), ("er", "sf"))]
    for n, scores in enumerate(parts):
        write(tmp_path / "one" / str(n), scores=scores, **{what: "same"})
        write(tmp_path / "two" / str(n), scores=scores, **{what: f"weights {n}"})
    (whole,) = [row for row in make_leaderboard([tmp_path / "one"]).ranked if not row.source]
    assert whole.score
    rows = [row for row in make_leaderboard([tmp_path / "two"]).ranked if not row.source]
    assert [(row.name, row.score) for row in rows] == [("mine (1)", None), ("mine (two)", None)]


def test_seeds_on_other_data_have_no_mean(tmp_path):
    for seed in (0, 1):
        write(tmp_path / "run" / str(seed), seeds=(seed,), data_hash=f"data {seed}")
    rows = [row for row in make_leaderboard([tmp_path / "run"]).ranked if not row.source]
    assert sorted(row.values["pr", "per"] for row in rows) == [[4.0], [5.0]]


def test_suites_are_never_mixed(tmp_path):
    runs = [write(tmp_path / "a"), write(tmp_path / "b", suite="mini")]
    with pytest.raises(DataError, match="different suites"):
        make_leaderboard(runs)
    assert make_leaderboard(runs, "paper4").suite == "paper4"
    assert not [row for row in make_leaderboard(runs, "mini").ranked if row.source]
    with pytest.raises(SettingsError, match="superb10"):
        make_leaderboard(runs, "superb10")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"data": "synthetic:demo"}, "synthetic data for er, pr, sf, sid"),
        ({"official_test": False}, "not the official test set of er, pr, sf, sid"),
    ],
)
def test_synthetic_and_partial_data_is_never_ranked_among_published_rows(tmp_path, fields, why):
    board = make_leaderboard([write(tmp_path / "run", **fields)])
    assert all(row.source for row in board.ranked)
    assert [(row.name, row.why_apart) for row in board.apart] == [("mine", why)]
    assert why in terminal_text(board)
    assert why in markdown(board)


@pytest.mark.parametrize("suite", ["paper4", "own"])
def test_what_was_heard_in_tuning_is_marked_and_not_ranked(tmp_path, suite):
    run = write(tmp_path / "run", suite=suite)
    records = read_jsonl(run / "results.jsonl")
    for record in records:
        if record["task"] == "er":
            record |= {"heard_items": 0.64, "heard_speakers": 0.5}
    others = [record | {"encoder": "other", "heard_items": "unknown"} for record in records]
    others = [record | {"heard_speakers": 0.0} for record in others]
    write_jsonl(run / "results.jsonl", [*records, *others])
    board = make_leaderboard([run])
    assert [row.name for row in board.ranked if not row.source] == ["other"]
    ((name, why),) = [(row.name, row.why_apart) for row in board.apart]
    assert (name, why) == ("mine", "test speech or speakers heard in tuning: ER (64 %)")
    note = "‡ marks figures on test utterances, or test speakers, that the encoder heard"
    assert f"{note} with labels when it was tuned (up to 64 %)" in markdown(board)
    for text in (terminal_text(board), markdown(board)):
        assert note in " ".join(text.split())
        cells = [line for line in text.splitlines() if "mine" in line and why not in line]
        assert "67.00‡" in " ".join(cells)
        assert "4.00‡" not in " ".join(cells)
        assert f"{board.apart[0].score:.1f}‡" in " ".join(cells)
        assert not [line for line in text.splitlines() if "other" in line and "‡" in line]
        # Of the other one it is not known: a mark of its own, and what it means.
        assert "¶" in " ".join(line for line in text.splitlines() if "other" in line)
        assert "¶ Of some encoders nobody has written down" in " ".join(text.split())
        assert "¶" not in " ".join(cells)
    assert max(map(len, terminal_text(board).splitlines())) <= 80


def test_dev_that_chose_an_encoder_is_no_unheard_test(tmp_path):
    run = write(tmp_path / "run")
    records = [r | {"heard_items": 0.0} for r in read_jsonl(run / "results.jsonl")]
    records = [r | ({"dev_items": 0.16} if r["task"] == "er" else {}) for r in records]
    write_jsonl(run / "results.jsonl", records)
    board = make_leaderboard([run])
    ((row,),) = [board.apart]
    assert row.why_apart == "test speech or speakers heard in tuning: ER (16 %, as dev)"
    assert "67.00‡" in markdown(board)
    assert "or was chosen on as its dev split" in markdown(board)


def test_a_task_beside_the_suite_that_was_heard_sets_nothing_apart(tmp_path):
    run = write(tmp_path / "run")
    further = {"task": "asr", "metric": "wer", "value": 5.0, "heard_items": 1.0}
    records = read_jsonl(run / "results.jsonl")
    write_jsonl(run / "results.jsonl", [*records, records[0] | further])
    board = make_leaderboard([run])
    assert not board.apart
    assert "‡" not in terminal_text(board) + markdown(board)


def test_missing_task_gives_no_score_and_no_rank(tmp_path):
    scores = {task: GOOD[task] for task in ("pr", "sid")}
    board = make_leaderboard([write(tmp_path / "run", scores=scores)])
    assert board.ranked[-1].name == "mine"
    assert board.ranked[-1].score is None
    assert "  – mine" in terminal_text(board)


def test_own_suites_need_the_same_data(tmp_path):
    scores = {"pr": {"per": 20.0}}
    one = write(tmp_path / "a", suite="own", scores=scores)
    two = write(tmp_path / "b", suite="own", scores={"pr": {"per": 10.0}}, name="other")
    board = make_leaderboard([one, two])
    assert [row.name for row in board.ranked] == ["other", "mine"]
    assert board.score_name == "Suite score"
    three = write(tmp_path / "c", suite="own", scores=scores, data_hash="x", name="third")
    with pytest.raises(DataError, match="different data"):
        make_leaderboard([one, three])


def test_suites_of_ones_own_say_what_was_measured_on_synthetic_speech(tmp_path):
    scores = {"sid": {"acc": 20.0}}
    for data, said in (("synthetic:demo", True), ("my.csv", False)):
        board = make_leaderboard([write(tmp_path / data, suite="own", scores=scores, data=data)])
        for text in (terminal_text(board), markdown(board)):
            assert ("Measured on synthetic speech (eSpeak NG): SID." in text) == said


def test_one_encoder_in_two_runs_is_two_rows(tmp_path):
    board = make_leaderboard([write(tmp_path / "a"), write(tmp_path / "b", protocol="s3prl")])
    assert {"mine (a)", "mine (b, s3prl)"} <= {row.name for row in board.ranked}


@pytest.mark.parametrize("suite", ["paper4", "superb10"])
def test_terminal_shows_every_metric_in_80_columns(tmp_path, suite):
    scores = GOOD
    if suite == "superb10":
        scores = {
            **best_published(),
            "asr": {"wer": 5.0, "cer": 2.0},
        }
    run = write(tmp_path / "run", suite=suite, scores=scores, name="x" * 60, official_test=True)
    board = make_leaderboard([run])
    text = terminal_text(board)
    assert max(map(len, text.splitlines())) <= 80
    for task in SUITES[suite].tasks:
        assert f"{task.upper()}" in text
    assert "§ published" in text
    assert "†" not in text + markdown(board)  # elsewhere: read in a summary alone
    mine = next(row for row in board.ranked if not row.source)
    assert mine.score is not None
    lines = [line for line in markdown(board).splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert "arXiv 2105.01051" in markdown(board)


def test_metrics_of_one_task_have_headings_of_their_own(tmp_path):
    run = write(tmp_path / "run", suite="own", scores={"asr": {"wer": 5.0, "cer": 2.0}})
    heading = terminal_text(make_leaderboard([run])).splitlines()[2].split()
    assert heading == ["score", "ASR↓", "CER↓"]


def test_published_rows_and_references_fit_the_suites():
    assert superb_score(FBANK.scores, "superb-published") == pytest.approx(0)
    wavlm = next(row for row in ROWS if row.name == "WavLM Base+")
    assert superb_score(wavlm.scores, "superb-published") == pytest.approx(1000)
    for suite in SUITES.values():
        if suite.reference:
            assert set(suite.tasks) == set(REFERENCES[suite.reference].floor)
            assert REFERENCES[suite.reference].source
    beside = {"asr": {"wer": 1.0}, "sid": {"acc": 2.0}}
    assert of_reference(beside, "speech-ft") == {"sid": {"acc": 2.0}}
    found = of_reference({"asr": {"wer": 1.0, "cer": 2.0}}, "superb-published")
    assert found == {"asr": {"wer": 1.0}}


def test_without_runs_the_published_rows_are_shown(tmp_path):
    out = tmp_path / "board.md"
    board = leaderboard(LeaderboardSettings(out=out))
    assert board.suite == "superb10"
    assert len(board.ranked) == 5
    assert out.read_text() == markdown(board)


def test_the_verb_gives_the_rows(tmp_path):
    import speechft

    board = speechft.leaderboard(runs=(write(tmp_path / "run"),))
    assert "mine" in [row.name for row in board.ranked]
    with pytest.raises(SettingsError, match="did you mean 'runs'"):
        speechft.leaderboard(run=())


@pytest.mark.parametrize(
    "line", ["[]", "3", "{", '{"value": 1.0}', '{"encoder": 3, "task": 1, "metric": 2}', "\udcff"]
)
def test_a_line_that_is_no_record_is_named(tmp_path, line):
    folder = write(tmp_path / "run")
    with (folder / "results.jsonl").open("a", errors="surrogateescape") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=r"the results cannot be read[\s\S]*run/results.jsonl"):
        make_leaderboard([folder])


def test_command_line(tmp_path, capsys):
    run, out = write(tmp_path / "run"), tmp_path / "board.md"
    with pytest.raises(SystemExit) as ended:
        main(["leaderboard", str(run), "--out", str(out)])
    assert not ended.value.code
    assert "mine" in capsys.readouterr().out
    assert "**mine**" in out.read_text()
