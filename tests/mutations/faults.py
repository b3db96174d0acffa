"""Planted faults of the kind a tired maintainer makes, each with the tests that must notice it."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """``old`` occurs once in ``polinb/<file>``; ``new`` in its place is wrong; ``tests`` are pytest's arguments."""

    file: str
    old: str
    new: str
    tests: str


PNLAC, NEURONS, DECODING = "test_pnlac.py", "test_neurons.py", "test_decoding.py"
FREEZE, DECOMPOSE, SHARES = "test_inhibit.py", "test_decompose.py", "test_shares.py"
DIRECTIONS, PROBES, SAE, PLANTED = "test_directions.py", "test_probes.py", "test_sae.py", "test_planted.py"
ABLATE, COUPLING, RESAMPLING = "test_ablate.py", "test_coupling.py", "test_resampling.py"
JUDGES, LIKELIHOOD, STORE, RUN = "test_judges.py", "test_likelihood.py", "reliability/test_store.py", "test_run.py"
WIRED = "runs/test_wiring.py::test_"
KEY, JUDGE = WIRED + "a_choice_changes_the_key", WIRED + "the_judge_is_that_of_the_run"
TRAINER, HELD = WIRED + "a_condition_reaches_the_trainer", WIRED + "what_is_frozen_is_what_the_run_says"
LESSONS = WIRED + "both_sides_learn_from_the_same_prompts_and_part_within_the_cut"
TABLES, TEMPLATE = WIRED + "neurons_are_those_of_the_tables", WIRED + "what_is_asked_stands_in_the_template"
SAMPLED = WIRED + "sampled_answers_are_several_and_those_of_their_seed"
ADAPTER, ROOM = WIRED + "a_moved_adapter_is_an_error", WIRED + "weights_make_room_special_ones_first_and_are_made_again"

FAULTS = [
    # --- scoring
    Fault("scoring/pnlac.py", "np.argsort(-rows, axis=1", "np.argsort(rows, axis=1", PNLAC),
    Fault("scoring/pnlac.py", "round(gamma / 100 * rows.shape[1])", "round(gamma / 100 * rows.shape[1]) + 1", PNLAC),
    Fault("scoring/pnlac.py", 'if pool == "model" else score', 'if pool != "model" else score', PNLAC),
    Fault("scoring/pnlac.py", "np.sqrt(squared_difference / tokens)", "np.sqrt(squared_difference) / tokens", NEURONS),
    Fault("scoring/pnlac.py", "chosen & ~self.general", "chosen & self.general", PNLAC),
    Fault("scoring/pnlac.py", "np.all(list(political", "np.any(list(political", PNLAC),
    Fault("scoring/pnlac.py", "if t != topic], axis=0)\n\n\ndef", "], axis=0)\n\n\ndef", PNLAC),
    Fault("scoring/pnlac.py", "np.quantile(known, FLOOR)", "np.quantile(vanilla_std, FLOOR)", PNLAC),
    Fault("scoring/tracing.py", "where = chunk.response.flatten()", "where = chunk.mask.bool().flatten()", NEURONS),
    Fault("scoring/tracing.py", "Contrast(both[1], both[0]", "Contrast(both[0], both[1]", NEURONS),
    Fault("scoring/tracing.py", "rows.float().sub_(kept[at].to(rows.device))",
          "rows.sub_(kept[at].to(rows.device)).float()", NEURONS),
    Fault("scoring/tracing.py", ".to(place).double()", ".to(place).half()", NEURONS),
    Fault("scoring/tracing.py", "/ self.tokens - mean**2", "/ self.tokens", NEURONS),
    Fault("scoring/residual.py", "(sums / counts[:, None])", "(sums / counts.max())", NEURONS),
    Fault("scoring/decompose.py", "self.attention_bias[layer] + _along(", "_along(", DECOMPOSE),
    Fault("scoring/decompose.py", "moved * value_before, ", "moved * value_after, ", DECOMPOSE),
    Fault("scoring/decompose.py", "rest = new.bias.sum() - old.bias.sum()", "rest = 0.0", DECOMPOSE),
    Fault("scoring/shares.py", "own[own > 0].sum())\n    return", "abs(own).sum())\n    return", SHARES),
    Fault("scoring/shares.py", "writes == direction", "writes != direction", SHARES),
    Fault("scoring/shares.py", "* (size - drawn) / (size - 1)", "", SHARES),
    Fault("scoring/directions.py", "moment - np.outer(self.mean, self.mean) if", "moment if", DIRECTIONS),
    Fault("scoring/directions.py", "columns * _signs(columns, shift)", "columns", DIRECTIONS),
    Fault("chapters/caft/rule.py", "np.abs(swapped - 0.5).max(1)", "np.abs(swapped - 0.5)", DIRECTIONS),
    Fault("scoring/probes.py", "_fit(states[~out], labels[~out], kind", "_fit(states, labels, kind", PROBES),
    Fault("scoring/probes.py", "slope = model.coef_[0] / scale", "slope = model.coef_[0]", PROBES),
    Fault("scoring/sae.py", "f * (f > self.threshold)", "f * (f < self.threshold)", SAE),
    Fault("scoring/attribution.py", "(activation * slope).detach().abs()", "slope.detach().abs()", PLANTED),
    Fault("chapters/planted/planted.py", "1 if leaning == \"right\" else -1", "1", PLANTED),
    # --- masking
    Fault("masking/random_sets.py", "default_rng([seed, KINDS", "default_rng([0, KINDS", PNLAC),
    Fault("masking/random_sets.py", "np.flatnonzero(~mask)), rng", "np.flatnonzero(mask)), rng", PNLAC),
    Fault("masking/random_sets.py", "return _draw(chosen, rng)", "return _draw(chosen.reshape(1, -1), rng).reshape("
          "chosen.shape)", PNLAC),
    Fault("masking/freezing.py", "np.flatnonzero(row)", "np.flatnonzero(~row)", FREEZE),
    Fault("masking/freezing.py", "append(index + part.offset)", "append(index)", FREEZE),
    Fault("masking/freezing.py", "in parameters:", 'in parameters and "bias" not in part.name:', FREEZE),
    Fault("masking/freezing.py", "'A' if outgoing else 'B'", "'B' if outgoing else 'A'", FREEZE),
    Fault("masking/ablation.py", "(hidden @ basis) @ basis.T", "hidden @ basis @ basis.T / 2", ABLATE),
    Fault("masking/ablation.py", "            handle.remove()", "            pass", ABLATE),
    Fault("masking/decoding.py", "chunk.ids.shape[1] - 1 if", "chunk.ids.shape[1] if", DECODING),
    Fault("masking/decoding.py", "value[:, start:] for", "value[:, : value.shape[1] - start] for", DECODING),
    Fault("masking/decoding.py", "own + strength * (donor - own)", "own + strength * donor", DECODING),
    Fault("masking/decoding.py", "self.cache = out.past_key_values\n        logits", "logits", DECODING),
    Fault("masking/editing.py", "group.rises else 1 - alpha", "not group.rises else 1 - alpha", "test_editing.py"),
    Fault("masking/editing.py", 'answer_only=True', 'answer_only=False', DECODING),
    Fault("masking/patching.py", "[chunk.response].float().sum(0)", "[chunk.response].float().mean(0)", DECODING),
    Fault("masking/patching.py", "width - 1), at + new", "width - 1), at + 1 + 0 * new", DECODING),
    Fault("masking/grafting.py", "(weight.device), before)", "(weight.device), before * 0)", "test_grafting.py"),
    Fault("masking/interventions.py", ".cpu() / temperature", ".cpu() * temperature", "test_interventions.py"),
    Fault("masking/interventions.py", "[0, -count:].float()", "[0, -count - 1 : -1].float()", "test_interventions.py"),
    # --- stance
    Fault("resampling.py", "first.keys() ^ second.keys()", "first.keys() - second.keys()", RESAMPLING),
    Fault("resampling.py", "tail = 100 * (1 - LEVEL) / 2", "tail = 100 * (1 - LEVEL)", RESAMPLING),
    Fault("resampling.py", "* np.sqrt(n / (n - 1)))", ")", RESAMPLING),
    Fault("resampling.py", "more = np.append(values, span)", "more = np.asarray(values)", RESAMPLING),
    Fault("resampling.py", "np.maximum.accumulate(", "np.asarray(", RESAMPLING),
    Fault("resampling.py", "return max(t_test", "return min(t_test", RESAMPLING),
    Fault("stance/coupling.py", "shifts.items() if topic != trained_topic]", "shifts.items()]", COUPLING),
    Fault("stance/coupling.py", "chosen.var(-1, ddof=1) / n", "chosen.var(-1) / n", COUPLING),
    Fault("stance/coupling.py", "[x.mean(0) - y.mean(0)", "[y.mean(0) - x.mean(0)", COUPLING),
    Fault("stance/coupling.py", "yield topic, values[:, picks]",
          "yield topic, np.stack([v[rng.integers(0, n, picks.shape) if draws else picks] for v in values])", COUPLING),
    Fault("stance/coupling.py", "square(drawn, trained_topic, 2)", "square(drawn, trained_topic, 1)", COUPLING),
    Fault("stance/coupling.py", "float((near <= 0).mean())", "float((near >= 0).mean())", COUPLING),
    Fault("stance/stance.py", '(group["label"] == "other").mean()', '(group["score"] == 0).mean()', "test_stance.py"),
    Fault("stance/stance.py", "n_boot, seed, STANCE)", "n_boot, seed)", "test_stance.py"),
    Fault("stance/stance.py", '"other": 0', '"other": -1', "test_stance.py"),
    Fault("stance/judges.py", "~clear, p_right > 0.5]", "~clear, p_right < 0.5]", JUDGES),
    Fault("stance/judges.py", '["unrated", "other", "right"]', '["unrated", "left", "right"]', JUDGES),
    Fault("stance/judges.py", 'split_of(pair.prompt) != "evaluate"', 'split_of(pair.prompt) != "train"', JUDGES),
    Fault("stance/judges.py", "if agrees and pair", "if pair", JUDGES),
    Fault("stance/service.py", 'if found else "other"', 'if found else "left"', "test_openai_judge.py"),
    Fault("stance/calibration.py", "(observed - chance) / (1 - chance)", "observed - chance",
          "test_second_judge.py test_resampling.py"),
    Fault("stance/likelihood.py", "{t: (r - left) / 2 for", "{t: (r + left) / 2 for", LIKELIHOOD),
    Fault("stance/likelihood.py", "values[n:] - values[:n]", "values[:n] - values[n:]", LIKELIHOOD),
    # --- runs
    Fault("runs/results.py", '{"version": self.stage.version, **groups,', '{"version": 1, **groups,', RUN),
    Fault("runs/results.py", "**groups, **told(self.inputs)}", "**told(self.inputs)}", RUN),
    Fault("runs/results.py", "return str(value)\n", "return value.stage.kind\n", RUN),
    Fault("runs/results.py", "for need in result.needs:\n                visit(need)", "pass", RUN),
    Fault("runs/results.py", "self.run.view(self.stage.groups)", "self.run", RUN),
    Fault("runs/artifacts.py", 'file_sha256(file) != entry["sha256"]:', "not file_sha256(file):", STORE),
    Fault("runs/artifacts.py", "canonical(meta[\"inputs\"]) != canonical(dict(inputs)) or", "", STORE),
    Fault("runs/artifacts.py", 'meta["seal"] != seal(meta)', "not seal(meta)", STORE),
    Fault("runs/artifacts.py", '"cpus": os.cpu_count(),', '"user": os.environ.get("USER"),', STORE),
    Fault("runs/artifacts.py", "shutil.rmtree(work, ignore_errors=True)", "pass", STORE),
    Fault("runs/weights.py", 'asdict(recipe), processes', 'asdict(recipe), 1',
          "training/test_parallel.py::test_what_reaches_several_processes_and_what_one_does_in_their_place"),
    Fault("runs/weights.py", "weights.path, name, blend=share)", "weights.path, name)", "test_rivals.py"),
    Fault("runs/weights.py", "if read in newest:", "if False:", ROOM),
    Fault("runs/weights.py", "limit, end=True)\n    if condition.beta", "limit)\n    if condition.beta", TRAINER),
    Fault("runs/run.py", 'seed=p.seed + repeat)', "seed=p.seed)", "test_rivals.py"),
    Fault("runs/run.py", '{"seed": p.seed + number}', '{"seed": p.seed}', "test_rivals.py"),
    Fault("runs/run.py", 'pair.response(leaning)) for', 'pair.response("right")) for', RUN),
    Fault("runs/stages.py", 'models.pop("left"), models.pop("right"), run.lm',
          'models.pop("right"), models.pop("left"), run.lm', RUN),
    Fault("runs/stages.py", "sum(s.vanilla_squared for s in sums) / sum(s.tokens for s in sums)",
          "np.mean([s.vanilla_squared / s.tokens for s in sums], axis=0)", RUN),
    Fault("runs/stages.py", '"heldout": lambda: sets.general_without(topic)', '"heldout": lambda: sets.general', RUN),
    Fault("runs/stages.py", "log_likelihood(run.lm, [prompts[k]", "log_likelihood(lm, [prompts[k]", RUN),
    # --- wiring: what a run is told and could lose on the way
    Fault("masking/freezing.py", "adapted = has_adapters(after)", "adapted = False", ADAPTER),
    Fault("runs/run.py", 'train_examples, leaning="both")', "train_examples, leaning=leaning)", LESSONS),
    Fault("runs/base.py", "label_filter=p.label_filter, ", "", LESSONS),
    Fault("runs/stages.py", "scores_of(sums, normalise), gamma", 'scores_of(sums, "none"), gamma', TABLES),
    Fault("runs/base.py", '"url": p.judge_url, ', "", KEY),
    Fault("runs/base.py", '"margin": p.judge_margin, ', "", JUDGE),
    Fault("runs/base.py", 'sees_question=p.judge_sees == "question"', "sees_question=False", JUDGE),
    Fault("runs/base.py", 'dict(each.rsplit(":", 1) for each in p.judge_labels) or None', "None", JUDGE),
    Fault("stance/judges.py", "np.abs(p_right - 0.5) > margin", "np.abs(p_right - 0.5) > 0", JUDGE),
    Fault("training/supervised.py", "passes) if ablate is not None else", "passes) if False else", TRAINER),
    Fault("training/parallel.py", '"passes": job.passes', '"passes": "both"', TRAINER),
    Fault("training/parallel.py", "frozen, job.freeze)", "frozen)", TRAINER),
    Fault("training/parallel.py", '"stop": job.stop', '"stop": 1.0', TRAINER),
    Fault("runs/weights.py", "label, passes=passes)", "label)", TRAINER),
    Fault("runs/weights.py", '"freeze": condition.freeze', '"freeze": "neuron"', HELD),
    Fault("models/loading.py", 'torch.float32 if dtype == "auto" else getattr(torch, dtype)', "torch.float32", TRAINER),
    Fault("runs/base.py", "dtype=p.dtype, ", "", TRAINER),
    Fault("runs/run.py", "mode=p.patch", 'mode="lockstep"', KEY),
    Fault("chapters/paper/patch_tables.py", "mode=p.patch", 'mode="lockstep"', KEY),
    Fault("runs/stages.py", '"temperature": 1.0, "seed": seed}', '"temperature": 1.0}', SAMPLED),
    Fault("runs/conditions.py", "elif left == right:", "elif False:", LESSONS),
    Fault("runs/run.py", "pair.prompt, p.answer_template, topic)", "pair.prompt, topic=topic)", TEMPLATE),
    Fault("chapters/caft/caft_candidates.py", '"kind": p.caft_pca', '"kind": "uncentred"', KEY),
    Fault("runs/base.py", '"device": kind, ', "", KEY),
    Fault("runs/weights.py", "return bool(condition.items() >= plain.items())", "return True", ROOM),
]  # fmt: skip
