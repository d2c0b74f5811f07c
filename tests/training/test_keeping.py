"""What a Brain keeps of its epochs, and that this is what it tests."""

from __future__ import annotations

import numpy as np
import pytest
import speechbrain as sb
import torch
from brains import make_batch
from safetensors.torch import load_file

from lam_sb.errors import UserError


def fill_history(brain, losses):
    for n, loss in enumerate(losses, start=1):
        brain.history.finish_epoch(
            {"epoch": n, "steps": 7 * n, "valid_loss": loss, "valid_uar": 0.5}
        )


def test_the_rules_choose_the_weights_they_say(make_brain):
    brain = make_brain(average_last_steps=15)
    fill_history(brain, [0.9, 0.4, 0.6, 0.7, 0.5])
    assert brain.chosen_epochs("last") == [3, 4, 5]
    assert brain.chosen_epochs("source") == [2]
    brain.average_last_steps = 14
    assert brain.chosen_epochs("last") == [4, 5]


def test_posteriors_are_averaged_over_the_chosen_weights(make_brain):
    brain = make_brain()
    brain.on_fit_start()
    loader = [make_batch(seed=1), make_batch(seed=2)]
    state, expected = brain.hparams.model.state_dict, []
    for epoch in (1, 2, 3):
        with torch.no_grad():
            for parameter in brain.modules.parameters():
                parameter.copy_(torch.randn_like(parameter) / epoch)
        brain._weights().save(epoch)
        rounded = {k: v.half().float() for k, v in state().items()}
        brain.hparams.model.load_state_dict(rounded)
        brain.modules.eval()
        with torch.no_grad():
            logits = torch.cat(
                [brain.compute_forward(b, sb.Stage.TEST).logits for b in loader]
            )
        expected.append(logits.double().softmax(-1).numpy())
    brain._weights().keep_tested([2, 3])
    given = brain.posteriors(loader, [2, 3])
    assert np.allclose(given, (expected[1] + expected[2]) / 2, atol=1e-12)
    assert not np.allclose(given, expected[2], atol=1e-3)
    assert np.allclose(given.sum(1), 1)


def test_weights_that_are_not_finite_give_no_posteriors(make_brain):
    brain = make_brain()
    brain.on_fit_start()
    with torch.no_grad():
        brain.modules.projector.weight[0, 0, 0] = float("nan")
    brain._weights().save(3)
    with pytest.raises(UserError, match="epoch 3: weights of projector"):
        brain._weights().keep_tested([3])


def test_posteriors_that_are_not_finite_end_the_test(make_brain):
    brain = make_brain()
    brain.on_fit_start()
    brain._weights().save(3)
    brain._weights().keep_tested([3])
    batch = make_batch()
    batch.x[0] = float("nan")
    with pytest.raises(UserError, match="epoch 3: posteriors of the test"):
        brain.posteriors([batch], [3])


def test_what_is_tested_alone_and_the_last_are_kept_whole(make_brain):
    brain = make_brain(average_last_steps=15)
    brain.on_fit_start()
    fill_history(brain, [0.9, 0.4, 0.6, 0.7, 0.5])
    for epoch in range(1, 6):
        brain._weights().save(epoch)
    chosen = brain.keep_tested(["last", "source"])
    assert chosen == {"last": [3, 4, 5], "source": [2]}
    kept = load_file(brain._weights().tested)
    types = {n: kept[f"0000{n}/projector.weight"].dtype for n in range(2, 6)}
    whole, steps = torch.float16, torch.int8
    assert types == {2: whole, 3: steps, 4: steps, 5: whole}


def test_only_weights_that_may_be_tested_are_kept(make_brain):
    brain = make_brain(average_last_steps=5)
    brain.on_fit_start()
    for epoch, loss in enumerate([0.9, 0.2, 0.8, 0.7], start=1):
        entry = {"epoch": epoch, "steps": 3 * epoch, "valid_loss": loss}
        brain.history.finish_epoch(entry)
        brain._save_epoch(epoch, loss)
    kept = sorted(p.name for p in brain._weights().folder.iterdir())
    assert kept == [f"0000{n}.safetensors" for n in (2, 3, 4)]
