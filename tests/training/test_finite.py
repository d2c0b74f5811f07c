"""Numbers that are not finite are no result."""

from __future__ import annotations

import numpy as np
import pytest
import speechbrain as sb
import torch
from domain_rows import rows
from speechbrain.utils.epoch_loop import EpochCounter

from lam_sb.errors import UserError
from lam_sb.evaluation.results import score
from lam_sb.training.ensemble import fit_ensemble
from lam_sb.training.finite import READ_TOGETHER, FiniteLosses, finite
from lam_sb.training.history import History


def brain_of(patience: int) -> FiniteLosses:
    """A brain in its fourth epoch, at its 37th step."""
    counter = EpochCounter(9)
    counter.current = 4
    brain = FiniteLosses(
        modules={"layer": torch.nn.Linear(1, 1)},
        hparams={"epoch_counter": counter},
        run_opts={"device": "cpu", "nonfinite_patience": patience},
    )
    brain.nonfinite_count, brain.optimizer_step = 0, 37
    brain.on_stage_start(sb.Stage.TRAIN)
    return brain


def average(brain: FiniteLosses, losses: list[float]) -> float:
    """What an epoch of these losses shows at its end."""
    shown = 0.0
    for brain.step, loss in enumerate(losses, start=1):
        shown = brain.update_average(torch.tensor(loss), shown)
    return brain.read_losses(shown)


def test_training_ends_in_the_epoch_whose_losses_are_not_finite():
    losses = [2.0, float("inf"), 4.0, float("nan")]
    message = "diverged in epoch 4: after 37 steps the losses are not finite"
    with pytest.raises(UserError, match=message):
        average(brain_of(patience=1), losses)
    # What patience lets pass counts as 0, as SpeechBrain has it.
    assert average(brain_of(patience=2), losses[:3]) == pytest.approx(8 / 3)


def test_losses_read_together_have_the_mean_of_losses_read_one_by_one():
    losses = torch.rand(2 * READ_TOGETHER + 7).tolist()
    brain, shown = brain_of(patience=0), 0.0
    for brain.step, loss in enumerate(losses, start=1):
        shown = sb.Brain.update_average(brain, torch.tensor(loss), shown)
    assert average(brain, losses) == shown
    assert shown == pytest.approx(np.mean(losses))


def test_a_checkpoint_within_an_epoch_holds_the_mean_of_all_its_steps():
    brain, saved = brain_of(patience=0), []

    class Checkpointer:
        def save_and_keep_only(self, **_):
            saved.append(brain.avg_train_loss)

    brain.checkpointer = Checkpointer()
    brain.avg_train_loss = 0.0
    for brain.step, loss in enumerate([1.0, 2.0, 6.0], start=1):
        brain.avg_train_loss = brain.update_average(
            torch.tensor(loss), brain.avg_train_loss
        )
    brain._save_intra_epoch_ckpt()
    assert saved == [pytest.approx(3.0)]


@pytest.mark.parametrize("name", ["train_loss", "valid_loss"])
def test_a_validation_that_is_not_finite_names_its_epoch(name):
    entry = {"epoch": 1, "steps": 5, "train_loss": 1.0, "valid_loss": 2.0}
    history = History()
    history.finish_epoch(entry)
    broken = entry | {"epoch": 2, "steps": 10, name: float("nan")}
    message = f"epoch 2: after 10 steps its {name} is not finite"
    with pytest.raises(UserError, match=message):
        history.finish_epoch(broken)
    assert history.best_epoch() == 1


def test_posteriors_that_are_not_finite_name_their_epoch():
    values = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    assert finite(values, 7) is values
    values[1, 0] = float("nan")
    message = "epoch 7: posteriors of the test are not finite"
    with pytest.raises(UserError, match=message):
        finite(values, 7)


def test_no_score_is_made_of_numbers_that_are_not_finite():
    posteriors = np.full((8, 4), 0.25)
    assert score(rows(8), posteriors)["uar"] == 0.25
    posteriors[3, 2] = np.nan
    with pytest.raises(UserError, match="posteriors are not finite"):
        score(rows(8), posteriors)


def test_the_ensemble_names_a_row_whose_features_are_not_finite():
    broken = rows(6)
    broken.features.chunks[4, 0, 1, 2] = float("inf")
    message = "features of 1 rows are not finite, u0_4 the first"
    with pytest.raises(UserError, match=message):
        fit_ensemble([broken], [2], seed=0)
