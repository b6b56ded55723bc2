"""The section of docs/results.md on speed: ratios from one run beside the peer."""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import median
from typing import Any


def benchmarks(root: Path) -> list[str]:
    """Give the section's lines, from results/benchmarks/."""
    lines = ["## Speed\n"]
    known = {
        "encode": _encode,
        "finetune": _finetune,
        "lstm": _lstm,
        "probe": _probe,
        "losses": _losses,
        "superb": _superb,
        "merge": _merge,
        "alpha": _alpha,
        "candidates": _candidates,
        "analyze": _analyze,
        "study": _study,
    }
    for name, show in known.items():
        # What was measured on a GPU, or on human speech, lies in a file of its own.
        folder = root / "results" / "benchmarks"
        for path in (
            folder / f"{name}{end}.json"
            for end in ("", "-units", "-gpu", "-gpu-more", "-human", "-whisper")
        ):
            if path.is_file():
                lines += show(json.loads(path.read_text(encoding="utf-8")))
                lines.append(f"Measured by `benchmarks/{name}.py`.\n")
    return lines if len(lines) > 1 else []


def _encode(record: dict[str, Any]) -> list[str]:
    sides = record["sides"]
    peer = next(name for name in sides if name.startswith("S3PRL"))
    lines = [
        f"### Hidden states of {record['utterances']} utterances at Base size{_on(record)}\n",
        f"{record['family']}, random weights, {record['audio_seconds'] / 60:.0f} minutes of speech "
        f"in utterances of 1 to 15 s, {record['threads']} threads{_more(record)}\n",
        "| | × real time | against S3PRL | peak MiB |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, side in sides.items():
        ratio = side["times_real_time"] / sides[peer]["times_real_time"]
        figures = f"{side['times_real_time']:.1f} | {ratio:.2f} × | {side['peak_mib']}"
        lines.append(f"| {name} | {figures} |")
    return [*lines, ""]


def _on(record: dict[str, Any]) -> str:
    chip = record.get("gpu") or record.get("processor")
    return (f", {chip}" if chip else "") + ", matrix units" * bool(record.get("matrix_units"))


def _more(record: dict[str, Any]) -> str:
    if not record.get("gpu"):
        return f", {record['device']}."
    return (
        f"; speechft's batches hold {record['batch_seconds']:.0f} s. Every side has passed over "
        "all once before. S3PRL's batches are computed as torch does it by default, with "
        "convolutions in TF32; the last line is S3PRL in float32, too."
        + " One round, no spread."
        * (len(next(iter(record["sides"].values()))["seconds"]) == 1)
    )


def _finetune(record: dict[str, Any]) -> list[str]:
    runs, about = list(record["seeds"].values()), record["machine"]
    names = list(runs[0])
    whisper = record["family"] == "whisper"
    lines = [
        f"### Updates of a fine-tuning, {'Whisper base' if whisper else 'HuBERT at Base size'}\n",
        f"{record['encoder']}, {about['processor']}, {about['threads']} threads, "
        f"{record['batch']} utterances of {record['seconds_per_utterance']:.0f} s per update, the "
        "same head, batches, rate, clip and AdamW on all sides, CNN front end frozen, no dropout. "
        f"Medians over the updates after the first epoch of {record['updates']}; range over "
        f"{len(runs)} seeds. “Apart” is the largest difference of a loss from the first line's."
        + " With `context: utterance` hidden states are others, and so are losses." * whisper
        + "\n",
        "| | s per update | times the first line's | peak MiB | apart |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name in names:
        seconds = [run[name]["seconds_per_update"] for run in runs]
        ratios = [run[name]["seconds_per_update"] / _first(run) for run in runs]
        peaks = [run[name]["peak_mib"] for run in runs]
        apart = max(run[name]["furthest_from_first"] for run in runs)
        said = f"{apart:.0e}" if apart else "0"
        against = "–" if name == names[0] else f"{_range(ratios, '.2f')} ×"
        lines.append(
            f"| {name.removesuffix(' no')}{', float32' * name.endswith(' no')} | "
            f"{_range(seconds, '.2f')} | {against} | {_range(peaks, ',.0f')} | {said} |"
        )
    return [*lines, ""]


def _lstm(record: dict[str, Any]) -> list[str]:
    about = record["machine"]
    lines = [
        "### The recurrent layers of an ASR probe on a CPU\n",
        f"SUPERB's head of ASR, {record['batch']} utterances of {record['frames']} frames, "
        f"{about['processor']}, {about['threads']} threads; in bfloat16 its LSTMs are computed by "
        "oneDNN under autocast. Medians; probes are trained in float32.\n",
        "| | float32, s | bfloat16, s | faster |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, sides in record["seconds"].items():
        exact, half = (median(sides[side]) for side in ("float32", "bfloat16"))
        lines.append(f"| {name} | {exact:.2f} | {half:.2f} | {exact / half:.2f} × |")
    return [*lines, ""]


def _first(run: dict[str, Any]) -> float:
    return float(next(iter(run.values()))["seconds_per_update"])


def _range(values: list[float], form: str) -> str:
    least, most = (f"{value:{form}}" for value in (min(values), max(values)))
    return least if least == most else f"{least} to {most}"


def _probe(record: dict[str, Any]) -> list[str]:
    lines = [
        "### Probes beside S3PRL's own runner\n",
        f"HuBERT Base with random weights, {record['machine']['threads']} thread; medians over "
        "updates. “Full length” counts SUPERB's updates, its looks at dev, and for speechft one "
        "encoding of the whole corpus.\n",
        "| task | S3PRL, s per update | speechft | less | S3PRL, hours at full length | speechft "
        "| less | passes per utterance, S3PRL | speechft |",
        "| --- |" + " ---: |" * 8,
    ]
    for task, one in record["speed"].items():
        full = one["full_length"]
        hours, passes = full["hours"], full["passes_per_utterance"]
        lines.append(
            f"| {task.upper()} | {one['s3prl']['seconds']:.1f} | {one['ours']['seconds']:.4f} | "
            f"{one['less']:.0f} × | {hours['s3prl']:.0f} | {hours['ours']:.1f} | "
            f"{full['less']:.1f} × | {passes['s3prl']:.0f} | {passes['ours']:.0f} |"
        )
    rates = record["rates"]
    lines += [
        "",
        f"A grid of {rates['rates']} learning rates against one (IC): a whole evaluation at full "
        f"length costs {rates['full_length_ratio']:.2f} ×. The probes alone cost "
        f"{rates['probe_ratio']:.1f} ×: on one CPU thread their arithmetic is the cost, not the "
        "calls that a GPU waits for.\n",
        "Scores with `tiny-hubert`, same updates, batches and rates, percent on test:\n",
        "| task | metric | seeds | S3PRL | speechft | difference ± 95 % |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for task, one in record["scores"].items():
        mean, spread = one["mean"], one["deviation"]
        lines.append(
            f"| {task.upper()} | {one['metric']} | {len(one['seeds'])} | "
            f"{mean['s3prl']:.1f} ± {spread['s3prl']:.1f} | {mean['ours']:.1f} ± "
            f"{spread['ours']:.1f} | {one['difference']:+.1f} ± {one['margin_95']:.1f} |"
        )
    return [*lines, ""]


def _losses(record: dict[str, Any]) -> list[str]:
    tasks = record["tasks"]
    versions = record["versions"]["s3prl"]
    columns = {key: key for key in ("exact", "group norm")} | {
        "group norm, HuBERT": "and HuBERT's mask"
    }
    columns = {key: name for key, name in columns.items() if any(key in t for t in tasks.values())}
    lines = [
        "### `protocol: s3prl` beside S3PRL's own code\n",
        f"S3PRL {versions['s3prl']} with torch {versions['torch']}, its configurations, data sets, "
        "batches, heads and optimisers, on trees of synthetic speech; speechft from the same "
        "initial head, with the same batches. Dropout and SpecAugment are off, as their random "
        "numbers differ. Largest relative difference of a loss; of QbE, which trains nothing, of a "
        "score (deviation 1). “Exact” is an encoder whose padding reaches nothing: what differs "
        "there is the task."
        + " With group norm the zeros behind short utterances reach S3PRL's hidden states, but not "
        "ours; HuBERT's mask there is longer than the audio besides." * (len(columns) > 1) + "\n",
        "| task | batches | first loss, S3PRL | " + " | ".join(columns.values()) + " |",
        "| --- |" + " ---: |" * (2 + len(columns)),
    ]
    for name, own in tasks.items():
        if "exact" not in own:
            continue
        found = own["exact"].get("losses", {}).get("s3prl", [])
        first = f"{len(found)} | {found[0]:.4f}" if found else "– | –"
        apart = [f"{own[key]['largest_difference']:.1e}" if key in own else "–" for key in columns]
        more = f", {own['about']}" if "about" in own else ""
        task = name.partition("-")[0].upper()
        lines.append(f"| {task}{more} | {first} | {' | '.join(apart)} |")
    lines += [
        "",
        "S3PRL draws a new crop of 8 s at each reading, speechft has one of each utterance. Mean "
        "relative difference of losses on utterances of 10 to 14 s:\n",
        "| task | speechft from S3PRL | S3PRL from itself, with other crops |",
        "| --- | ---: | ---: |",
    ]
    for task, own in _crops(tasks).items():
        figures = (own["mean_difference"], own["mean_difference_of_s3prl"])
        lines.append(f"| {task.upper()} |" + "".join(f" {_percent(f)} |" for f in figures))
    slots = tasks["slots"]
    lines += [
        "",
        f"Slots of {slots['transcripts']} transcripts with marks lost and added at random:\n",
        "| scored by | slot-type F1 | slot-value CER |",
        "| --- | ---: | ---: |",
    ]
    sides = {"S3PRL": slots["s3prl"]}
    sides |= {f"speechft, `protocol: {name}`": slots["ours"][name] for name in ("s3prl", "clean")}
    for name, scores in sides.items():
        figures = (scores["slot_type_f1"], scores["slot_value_cer"])
        lines.append(f"| {name} |" + "".join(f" {figure:.2f} |" for figure in figures))
    return [*lines, ""]


def published_figures(record: dict[str, Any]) -> dict[str, str]:
    """Give what docs/explanation/published-numbers.md says of `benchmarks/losses.py`'s record."""
    tasks = record["tasks"]
    trained = [own for own in tasks.values() if "losses" in own.get("exact", {})]

    def apart(encoder: str) -> list[float]:
        return [own[encoder]["largest_difference"] for own in trained if encoder in own]

    figures = {
        "exact": _power(max(apart("exact"))),
        "batches": f"{sum(len(own['exact']['losses']['ours']) for own in trained)} batches",
    }
    for name in ("qbe", "qbe-8k"):
        if name in tasks:
            figures[name] = _power(tasks[name]["exact"]["largest_difference"])
    for encoder in filter(apart, ("group norm", "group norm, HuBERT")):
        figures[encoder] = f"at most {_percent(max(apart(encoder)))}"
    for task, own in _crops(tasks).items():
        figures[task] = _percent(own["mean_difference"])
        figures[f"{task}, itself"] = _percent(own["mean_difference_of_s3prl"])
    slots = tasks["slots"]
    for metric in ("slot_type_f1", "slot_value_cer"):
        clean, s3prl = slots["ours"]["clean"][metric], slots["s3prl"][metric]
        figures[metric] = f"{clean:.1f} for {s3prl:.1f}"
    return figures


def _crops(tasks: dict[str, Any]) -> dict[str, Any]:
    found = {name.partition("-crops")[0]: own for name, own in tasks.items() if "-crops" in name}
    return dict(sorted(found.items(), reverse=True))


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def _power(value: float) -> str:
    """Round up to one digit: 4.2e-05 is 5e-5."""
    power = math.floor(math.log10(value))
    return f"{math.ceil(value / 10**power)}e{power}"


def _superb(record: dict[str, Any]) -> list[str]:
    about, encoding, full = record["machine"], record["encoding"], record["full_length"]
    updates = [own["updates"] for own in record["tasks"].values() if own["updates"]] or [0]
    lines = [
        "### SUPERB at full size\n",
        f"{record['encoder']}, on {about.get('gpu', about['processor'])}: {encoding['utterances']} "
        f"utterances, {encoding['audio_hours']:.1f} hours of synthetic speech in the trees of the "
        f"real corpora, encoded at **{encoding['hours_per_minute']:.1f} hours of audio per "
        "minute**. An update trains the whole grid of rates. What this means for the real "
        "corpora: their official numbers of utterances, as long as those here, SUPERB's updates "
        f"and ten looks at dev. An update is the median of {min(updates)} to {max(updates)} timed "
        f"ones, with LSTMs in {record.get('recurrence', 'float32')}; its "
        "hidden states came from memory; a disk that has to give them must be as fast.\n",
        "| task | rates | s per update | hours of audio | encode, h | train, h | score, h |",
        "| --- |" + " ---: |" * 6,
    ]
    for task, own in record["tasks"].items():
        there = full["tasks"][task]
        lines.append(
            f"| {task.upper()} | {own['rates'] or '-'} | {own['update_seconds']:.4f} | "
            f"{there['audio_hours']:.0f} | {there['encode_hours']:.2f} | "
            f"{there['train_hours']:.2f} | {there['score_hours']:.2f} |"
        )
    lines.append(
        f"| all, nothing encoded twice | | | {full['audio_hours']:.0f} | "
        f"{full['encode_hours']:.2f} | | {full['hours']:.1f} in all |"
    )
    return [*lines, ""]


def _merge(record: dict[str, Any]) -> list[str]:
    base = record["base"]
    lines = [
        "### Merging two encoders of Base size\n",
        f"{base['bytes'] / 1e6:.0f} MB each, least of {base['repeats']} repeats; mergekit "
        f"{record['mergekit']} takes no hashes of the parents, speechft knows them after the first "
        "time.\n",
        "| | seconds | peak MB |",
        "| --- | ---: | ---: |",
    ]
    names = {"cp": "cp", "speechft_first": "speechft, first time", "speechft": "speechft"}
    for key, name in (names | {"mergekit": "mergekit"}).items():
        lines.append(f"| {name} | {base[key]['seconds_min']:.2f} | {base[key]['peak_mb']:.0f} |")
    return [*lines, ""]


def _alpha(record: dict[str, Any]) -> list[str]:
    tuned, states = record["fine_tuning"], record["states"]
    fewer = record.get("fewer")
    how = (
        f"θ' of the study `human`, tuned on {tuned['task'].upper()}; {fewer[0]} utterances train "
        f"the probes, with fewer updates than usual ({record['probe_steps']}), and {fewer[1]} of "
        "dev score them,"
        if fewer
        else f"{tuned['steps']} updates of stable fine-tuning on {tuned['task'].upper()} of "
        f"{tuned['data']}; dev scores"
    )
    lines = [
        f"### Alpha from data: predicted against real sweep{', human speech' if fewer else ''}\n",
        f"{Path(tuned['encoder']).name}, {how} at {len(record['alphas'])} points "
        "from 0 to 1. A rank correlation (Spearman) with the real sweep can hardly be above that "
        "of two real sweeps with different seeds. Few items of dev make the figures coarse.\n",
        "| first metric | predicted: rank, worst error | other seed: rank, worst error |",
        "| --- | ---: | ---: |",
    ]
    for task, one in record["interpolated"].items():
        sides = (one, record["other_seed"][task])
        texts = [f"{_rank(s['rank_correlation'])}, {s['worst_error']:.1f}" for s in sides]
        lines.append(f"| {task} | {' | '.join(texts)} |")
    lines += [
        "",
        "Hidden states that were kept are not encoded again: the seconds of the other seed and "
        "of `interpolated` are those of heads alone, and those of the first sweep are less "
        "than all.\n",
    ]
    lines += ["| | alpha | passes | processor seconds |", "| --- | ---: | ---: | ---: |"]
    for name, one in record["chosen"].items():
        cost = f"{one['passes']} | {one['processor_seconds']:.0f}"
        lines.append(f"| {name} | {one['alpha']} | {cost} |")
    errors = {alpha: one["error_by_layer"] for alpha, one in states["points"].items()}
    count = range(len(next(iter(errors.values()))))
    lines += [
        "",
        f"Error of predicted hidden states of {record['utterances']} utterances, in standard "
        "deviations of the real ones. Their drift from θ0 is predicted with rank correlation "
        f"{_rank(states['rank_correlation_of_drift'])} and a worst error of "
        f"{states['worst_error_of_drift']:.2f} standard deviations.\n",
        "| alpha |" + "".join(f" state {n} |" for n in count) + " drift |",
        "| --- |" + " ---: |" * (len(count) + 1),
    ]
    for alpha, values in errors.items():
        drift = states["points"][alpha]["measured"]
        lines.append(f"| {alpha} |" + "".join(f" {v:.2f} |" for v in (*values, drift)))
    return [*lines, ""]


def _candidates(record: dict[str, Any]) -> list[str]:
    what = "synthetic" if "kept" in record else "human"
    lines = [
        f"### Beyond alpha 0.25, on {what} speech\n",
        "Gain over alpha 0.25 in percentage points of first metrics (errors as 100 − e): on the "
        "task that θ' was tuned on, and in the mean over the others.",
    ]
    if "kept" in record:
        lines[-1] += (
            " From kept studies, of PR, SID, ER and SF, three seeds each, ± standard deviation "
            "over seeds; each alpha is compared with 0.25 in the same study. PC is probed by none, "
            "IC and KS not in each.\n"
        )
        lines += [
            "| tuned on | alpha | source | others | study |",
            "| --- | ---: | ---: | ---: | --- |",
        ]
        for one in record["kept"]:
            source, others = (_gain(one.get(key)) for key in ("source", "others"))
            name = f"[{one['study']}](studies/{one['study']}.md)"
            lines.append(
                f"| {one['task'].upper()} | {one['alpha']} | {source} | {others} | {name} |"
            )
    for task in dict.fromkeys(one["task"] for one in record["candidates"]):
        lines += _candidates_of(task, record)
    return [*lines, ""]


def _candidates_of(task: str, record: dict[str, Any]) -> list[str]:
    """Give the table of what was made of θ' that was tuned on one task."""
    own = [one for one in record["candidates"] if one["task"] == task]
    seeds = sorted({one["seed"] for one in own})
    others = ", ".join(t.upper() for t in own[0]["dev"] if t != task)
    lines = [
        "",
        f"θ' tuned on {task.upper()}; dev scores of small probes on {task.upper()}, {others}, each "
        f"trained on {record['trained']} utterances. In brackets the 95 % interval over the items "
        "of dev, paired with alpha 0.25, which holds none of the chance of θ' and of probes.\n",
        "| candidate | "
        + "".join(f"source, seed {n} | others, seed {n} | " for n in seeds).strip(),
        "| --- |" + " ---: | ---: |" * len(seeds),
    ]
    for name in dict.fromkeys(one["candidate"] for one in own):
        cells = []
        for seed in seeds:
            rows = [o for o in own if (o["candidate"], o["seed"]) == (name, seed)]
            cells += [_with_interval(rows, key) for key in ("source", "others")]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def _with_interval(rows: list[dict[str, Any]], key: str) -> str:
    if not rows or key not in rows[0]:
        return "–"
    low, high = rows[0][f"{key}_interval"]
    return f"{rows[0][key]:+.1f} [{low:.1f}, {high:.1f}]"


def _gain(one: dict[str, float] | None) -> str:
    return "–" if one is None else f"{one['mean']:+.1f} ± {one['deviation']:.1f}"


def _analyze(record: dict[str, Any]) -> list[str]:
    lines = [
        "### `analyze` over much audio\n",
        f"{record['encoder']}: θ0 and {record['encoders'] - 1} other encoders, in pieces of 10 s "
        "of speech, one thread. All measures of hidden states, without points between, beside the "
        "same encoders in the same batches with nothing kept. Processor time, since the machine "
        "did other work.\n",
        "| minutes of audio | encoding, s | analyze, s | ratio | peak MB, encoding | analyze |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for minutes, one in record["minutes"].items():
        kinds = ("encode", "analyze")
        least = [min(r[kind]["processor_seconds"] for r in one["rounds"]) for kind in kinds]
        peaks = ["–" if (mb := one["peak_mb"][kind]) is None else f"{mb:.0f}" for kind in kinds]
        lines.append(
            f"| {minutes} | {least[0]:.0f} | {least[1]:.0f} | {one['ratio']:.2f} × | "
            f"{peaks[0]} | {peaks[1]} |"
        )
    return [*lines, ""]


def _rank(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _study(record: dict[str, Any]) -> list[str]:
    kinds, about = record["kinds"], record["machine"]
    chip = about["processor"]
    done = sum(row["measured"] for row in kinds)
    rest = (
        ""
        if done == len(kinds)
        else "; others, marked ~, are taken by those of their stage, so that "
        f"{100 * record['measured_share']:.0f} % of the hours are measured"
    )
    load = ", if they slow each other no more than in that sample" * ("NVIDIA" in chip)
    lines = [
        f"### All of `make study`, {chip}\n",
        f"{record['jobs']} jobs of {len(kinds)} kinds. One of each of {done} kinds was done{rest}. "
        f"**{record['process_hours']:.1f} hours of processes**, and with {record['workers']} of "
        f"one thread on {about['cores']} cores **{record['hours']:.1f} by the clock**{load}.\n",
        "| kind of job | jobs | seconds each | hours |",
        "| --- | ---: | ---: | ---: |",
    ]
    for row in kinds[:_MOST]:
        lines.append(_line(row["kind"], row["jobs"], row["seconds"], row["measured"]))
    if rows := kinds[_MOST:]:
        jobs = sum(row["jobs"] for row in rows)
        seconds = sum(row["jobs"] * row["seconds"] for row in rows) / jobs
        measured = all(row["measured"] for row in rows)
        lines.append(_line(f"{len(rows)} further kinds", jobs, seconds, measured))
    return [*lines, ""]


_MOST = 8


def _line(kind: str, jobs: int, seconds: float, measured: bool) -> str:
    each = f"{'' if measured else '~'}{seconds:.1f}"
    return f"| {kind} | {jobs} | {each} | {jobs * seconds / 3600:.2f} |"
