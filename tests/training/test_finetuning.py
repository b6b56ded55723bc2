"""What moves when, in stable fine-tuning and in the baselines."""

import pytest
import torch
from family_configs import FAMILIES, config_of

from speechft.core.errors import SettingsError
from speechft.encoders import build_encoder
from speechft.heads.linear import PooledLinear
from speechft.hidden.front_end_cache import FrontEndCache
from speechft.training.adapters import PRESETS, add_adapters, block_linears, merge_adapters
from speechft.training.finetune.objective import FineTuning, TaskPart
from speechft.training.finetune.settings import RECIPES, FinetuneSettings, Recipe
from speechft.training.freezing import FreezePlan
from speechft.training.penalties import L2SP

STEPS = 30


class TwoClasses:
    def loss(self, logits, lengths, targets):
        return torch.nn.functional.cross_entropy(logits, torch.stack(targets))

    def decode(self, logits, lengths):
        return logits.argmax(1).tolist()

    def tune(self, predictions, references):
        return {}

    def score(self, predictions, references):
        right = sum(p == r for p, r in zip(predictions, references, strict=True))
        return {"acc": 100 * right / len(references)}


def waveforms():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(size, generator=generator) / 5 for size in (6000, 8000, 7000, 5000)]


def objective(encoder, *, frozen_front_end=True, warmup=0.1, penalty=None, movable=None):
    torch.manual_seed(0)
    head = PooledLinear(encoder.hidden_size, 2, projection=8)
    part = TaskPart(head, TwoClasses(), [torch.tensor(i % 2) for i in range(4)], dev=list)
    plan = FreezePlan(STEPS, warmup, frozen_front_end)
    return FineTuning(encoder, {"head": part}, plan, penalty, movable)


def items_for(encoder, frozen_front_end):
    if not frozen_front_end:
        return waveforms()
    encoder.eval()
    with torch.no_grad():
        return [encoder.front_end(w[None], torch.tensor([len(w)]))[0][0] for w in waveforms()]


def moved_per_update(fit, items, steps=5):
    """Give the set of tensors that changed at each update."""
    optimizer = torch.optim.Adam(fit.module.parameters(), lr=1e-3)
    history = []
    for update in range(1, steps + 1):
        before = {n: p.detach().clone() for n, p in fit.module.named_parameters()}
        fit.before_update(update)
        fit.loss([0, 1, 2, 3], items)[0].backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        changed = {n for n, p in fit.module.named_parameters() if not torch.equal(p, before[n])}
        history.append(changed)
    return history


def is_head(name):
    return name.startswith("head.")


def is_front_end(name):
    return ".feature_extractor." in name


def test_stable_head_first_front_end_never(tiny_encoder):
    items = items_for(tiny_encoder, True)
    fit = objective(tiny_encoder)
    history = moved_per_update(fit, items)
    first = FreezePlan(STEPS).first_encoder_update
    assert first == 4
    assert all(history[update - 1] for update in range(1, 6))
    for update, changed in enumerate(history, start=1):
        assert not any(is_front_end(n) for n in changed)
        assert any(is_head(n) for n in changed)
        assert any(not is_head(n) for n in changed) == (update >= first)
    behind = set(fit.encoder.encoder_parameters())
    unused = {"masked_spec_embed"}  # no masking of the input, so no gradient
    assert {n.removeprefix("encoder.model.") for n in history[-1] if not is_head(n)} == (
        behind - unused
    )


def test_regular_moves_everything_at_once(tiny_encoder):
    fit = objective(tiny_encoder, frozen_front_end=False, warmup=0.0)
    changed = moved_per_update(fit, items_for(tiny_encoder, False), steps=1)[0]
    assert any(is_front_end(n) for n in changed)
    assert any("encoder.layers.0" in n for n in changed)


def test_features_kept_give_the_same_loss_as_waveforms(tiny_config):
    encoder = build_encoder(tiny_config, seed=0)
    kept = objective(encoder)
    fresh = objective(build_encoder(tiny_config, seed=0), frozen_front_end=False)
    losses = []
    for fit, items in ((kept, items_for(encoder, True)), (fresh, waveforms())):
        fit.before_update(STEPS)
        fit.module.eval()
        losses.append(fit.loss([0, 1, 2, 3], items)[0].detach())
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_the_cache_gives_is_encoded_as_waveforms_are(family, synthetic_splits):
    """Whisper hears 30 s whatever is said, so its features cannot tell where speech ends."""
    encoder = of_family(family)
    cuts = list(synthetic_splits["sid_dev"])[:3]
    cache = FrontEndCache(encoder, cuts)
    fit = objective(encoder)
    fit.module.eval()
    with torch.no_grad():
        frames, lengths = fit.encode(cache.load([0, 1, 2]))
        wanted = encoder(cache.waveforms.load([0, 1, 2]))
    assert lengths.tolist() == wanted.lengths.tolist()
    assert len(set(lengths.tolist())) > 1
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(
            frames[row, :length], wanted.hidden_states[-1][row, :length], rtol=1e-4, atol=1e-4
        )


def test_l2sp_is_half_strength_times_the_squared_distance(tiny_encoder):
    penalty = L2SP(tiny_encoder.encoder_parameters(), strength=0.5)
    assert float(penalty().detach()) == 0.0
    with torch.no_grad():
        tiny_encoder.model.encoder.layer_norm.weight += 2.0
    expected = 0.25 * 4.0 * tiny_encoder.hidden_size
    assert float(penalty().detach()) == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_adapters_move_alone_and_merge_into_plain_layers(tiny_encoder, kind):
    names = [n for n, _ in tiny_encoder.model.named_parameters()]
    coverage = add_adapters(tiny_encoder, kind, rank=2)
    assert coverage.share == 100.0
    assert len(coverage.adapted) == 2 * 6
    movable = [p for n, p in tiny_encoder.model.named_parameters() if "lora_" in n]
    items = items_for(tiny_encoder, True)
    fit = objective(tiny_encoder, movable=movable)
    history = moved_per_update(fit, items)
    inside = {n for n in set().union(*history) if not is_head(n)}
    assert inside
    assert all("lora_" in n for n in inside)
    fit.module.eval()
    with torch.no_grad():
        before = tiny_encoder(waveforms()).hidden_states[-1]
        merge_adapters(tiny_encoder)
        after = tiny_encoder(waveforms()).hidden_states[-1]
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)
    assert [n for n, _ in tiny_encoder.model.named_parameters()] == names


def of_family(family):
    return build_encoder(config_of(family), seed=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_adapter_gets_a_gradient(family):
    """An adapter that the family's attention bypasses would train nothing, silently."""
    encoder = of_family(family)
    add_adapters(encoder, "lora", rank=2)
    for name, parameter in encoder.model.named_parameters():
        parameter.requires_grad_("lora_B" in name)
    encoder(waveforms()).hidden_states[-1].square().mean().backward()
    without = [
        n
        for n, p in encoder.model.named_parameters()
        if "lora_B" in n and (p.grad is None or not p.grad.any())
    ]
    assert without == []


# linear layers of two blocks: all, attention, queries and values, feed-forward
COVERAGE = {
    "hubert": (12, 8, 4, 4),
    "wav2vec2": (12, 8, 4, 4),
    "wavlm": (14, 8, 4, 4),  # and the gate of its relative positions
    "unispeech-sat": (12, 8, 4, 4),
    "data2vec-audio": (12, 8, 4, 4),
    "decoar2": (12, 8, 4, 4),
    "wav2vec2-bert": (16, 8, 4, 8),  # two feed-forward modules per block
    "whisper": (12, 8, 4, 4),  # nothing in the decoder
}


@pytest.mark.parametrize("family", FAMILIES)
def test_presets_cover_what_they_say(family):
    encoder = of_family(family)
    linear = set(block_linears(encoder))
    found = {}
    for preset in PRESETS:
        coverage = add_adapters(of_family(family), "lora", rank=2, targets=(preset,))
        found[preset] = set(coverage.adapted)
        assert coverage.linear == len(linear)
    assert tuple(len(names) for names in found.values()) == COVERAGE[family]
    assert found["all"] == linear
    assert found["query-value"] < found["attention"]
    assert not found["attention"] & found["feed-forward"]


@pytest.mark.parametrize("family", ["wav2vec2-bert", "whisper", "decoar2"])
def test_adapters_of_other_families_merge_into_plain_layers(family):
    encoder = of_family(family)
    names = [n for n, _ in encoder.model.named_parameters()]
    add_adapters(encoder, "dora", rank=2)
    with torch.no_grad():
        untouched = encoder(waveforms()).hidden_states[-1]
        for name, parameter in encoder.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
        before = encoder(waveforms()).hidden_states[-1]
        merge_adapters(encoder)
        after = encoder(waveforms()).hidden_states[-1]
    assert not torch.allclose(before, untouched, rtol=1e-2)
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4)
    assert [n for n, _ in encoder.model.named_parameters()] == names


def test_patterns_choose_layers():
    def adapted(*targets):
        return add_adapters(of_family("hubert"), "lora", targets=targets).adapted

    assert adapted("encoder.layers.1.*") == tuple(
        n for n in adapted() if n.startswith("encoder.layers.1.")
    )
    assert adapted("attention.q_proj") == adapted("q_proj")
    assert set(adapted("query-value", "output_dense")) == set(
        adapted("q_proj", "v_proj", "output_dense")
    )


def test_a_target_that_matches_nothing_is_refused(tiny_encoder):
    with pytest.raises(SettingsError, match="nonesuch") as caught:
        add_adapters(tiny_encoder, "lora", targets=("q_proj", "nonesuch"))
    assert "q_proj" in str(caught.value)
    assert "query-value" in str(caught.value)
    assert len(block_linears(tiny_encoder)) == 12


def test_a_layer_of_another_family_is_refused():
    with pytest.raises(SettingsError, match="no layer to adapt for q_proj"):
        add_adapters(of_family("wav2vec2-bert"), "lora", targets=("q_proj",))


def test_training_has_dropout_and_evaluation_has_none(tiny_config):
    encoder = build_encoder({**tiny_config, "hidden_dropout": 0.5}, seed=0).eval()
    fit = objective(encoder)
    part = fit.parts[0]
    items = items_for(encoder, True)
    part.dev = lambda: [(items[:2], [0, 1]), (items[2:], [1, 0])]
    seen = []
    part.task.decode = lambda logits, lengths: seen.append(logits) or logits.argmax(1).tolist()
    fit.before_update(3)
    assert all(module.training for module in fit.module.modules())
    one, two = (float(fit.loss([0, 1, 2, 3], items)[0].detach()) for _ in range(2))
    assert one != two
    figures = fit.evaluate()
    assert not any(module.training for module in fit.module.modules())
    with torch.no_grad():
        logits = torch.cat([part.head(*fit.encode(batch)) for batch in (items[:2], items[2:])])
    torch.testing.assert_close(torch.cat(seen), logits, rtol=1e-5, atol=1e-6)
    right = (logits.argmax(1) == torch.tensor([0, 1, 1, 0])).float().mean()
    assert figures == {"acc": pytest.approx(100 * float(right))}


NORMED = {"conv_pos_batch_norm": True, "hidden_dropout": 0.0, "attention_dropout": 0.0}


def test_batch_norms_keep_their_statistics(tiny_config):
    encoder = build_encoder({**tiny_config, **NORMED, "activation_dropout": 0.0}, seed=0)
    with torch.no_grad():
        for name, buffer in encoder.model.named_buffers():
            if "running" in name:
                buffer.add_(0.3)
    before = {n: b.clone() for n, b in encoder.model.named_buffers()}
    assert any("running_mean" in name for name in before)
    fit = objective(encoder)
    items = items_for(encoder, True)
    moved_per_update(fit, items)
    assert all(torch.equal(b, before[n]) for n, b in encoder.model.named_buffers())
    fit.before_update(STEPS)
    alone = fit.encode(items[3:])[0].detach()
    padded = fit.encode(items)[0][3, : alone.shape[1]].detach()
    torch.testing.assert_close(padded, alone[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_adapters_are_what_they_are_called_and_scaled(tiny_encoder, kind):
    from peft.tuners.lora import LoraLayer

    coverage = add_adapters(tiny_encoder, kind, rank=2, scale=6.0)
    names = [n for n, _ in tiny_encoder.model.named_parameters()]
    assert any("magnitude" in name for name in names) == (kind == "dora")
    layers = [m for m in tiny_encoder.model.modules() if isinstance(m, LoraLayer)]
    assert [layer.scaling["default"] for layer in layers] == [3.0] * 12
    added = sum(p.numel() for n, p in tiny_encoder.model.named_parameters() if "lora_" in n)
    assert coverage.parameters == added > 0


def test_what_the_methods_mean_by_default():
    stable = (0.1, True, "stable")
    assert {
        name: (r.head_warmup, r.freeze_front_end, r.schedule) for name, r in RECIPES.items()
    } == {
        "stable": stable,
        "regular": (0.0, False, "constant"),
        "l2sp": stable,
        "lora": stable,
        "dora": stable,
        "replay": stable,
    }
    given = {"encoder": "e", "task": "sid", "data": "d", "out": "o"}
    one = FinetuneSettings(**given, method="l2sp", head_warmup=0.0, freeze_front_end=False)
    assert one.recipe == Recipe(0.0, False, "stable")
    assert FinetuneSettings(**given).recipe == RECIPES["stable"]
