"""What ``book/reference/raw/README.md`` says. Not among the resources: no chapter depends on it."""

from __future__ import annotations

README = """\
# Raw data of the reference run

Written by `python -m book._make reference-raw`, read by `python -m book._make reference-check`. Never edited by hand.

Questions come from {data} (licence: {licence}), reproduced here so that the answers can be read; statements and all
else are this project's own. What models wrote is no opinion of anybody, and much of it is false.

- `index.json`: parameters, digest of the data, model, software and hardware, what is missing, size and SHA-256 of
  each file
- `arms.json`: `arms`: every model that was asked; `groups`: which of them belong together; `patched`: sets that were
  patched in; `scores`: facts about the scores; `missing`: stages that the run did not reach, with the reason
- `questions.parquet`: what was asked, once: kind (question or statement), topic (or statement set), id, prompt
- `responses.parquet`: answers to the questions: arm, topic, id, response, n_tokens (tokens written), vanilla_logp
  (mean natural log-probability a token under the vanilla model; empty where not measured), label (left, right, other,
  unrated), score (−1, +1, 0, 0), p_right (the judge's probability of right)
- `statements.parquet`: the same for statements; label, score and p_right are empty where no chapter judges the
  answers
- `likelihood.parquet`: arm, topic, id, logp_left and logp_right: mean natural log-probability a token of the two
  reference answers
- `patched.parquet`: answers of the vanilla model with neurons patched in: set, donor (topic of the right-leaning
  donor), topic, id, response, label, score, p_right as in responses
- `scores.safetensors`: `score/<topic>`: PNLAC score (layers, neurons), in units of activation; `vanilla_std/<topic>`:
  standard deviation of the vanilla activation; `scale`: its root mean square over all topics; float32
- `sets.safetensors`: neuron sets (layers, neurons / 8) uint8, eight neurons a byte, the first in the highest bit:
  `N/<raw or std>/<γ>/<topic>`, `G/<γ>`, `loudest/<γ>`, `loudest-neutral/<γ>`,
  `heldout/<γ>/<topic>` (G found without the topic), `random-<kind>/<γ>/<number>`

An arm in `arms.json`: name; topic and leaning of its training data; frozen (name of a set, or null) and frozen_neurons
(count); ablate (digest of CAFT's directions, or null; these are not kept, so such an arm is not recomputable); rate
(factor on the learning rate); stop (share of the optimiser steps done); blend (weight of the fine-tuned model in the
interpolation with the vanilla one); run (added to the seed); extra (also asked statements and likelihoods); training
(losses a step in nats a token, steps, tokens, seconds, frozen_entries: frozen weights, frozen_change: their largest
change); artifact (key in the store of the run); environments (numbers of entries of that name in
`index.json`: what made it); seconds (that making the answers took, with the training, unless its weights were there).

## The check

`make reference-check` (with `DATA=…`, where the data of the run are) makes tables again from these files and compares
them with those in `tables/`: what a table prints rounded must round to it, other numbers must agree to six digits.
Then a random tenth of the models that can be made again, and of the topics' scores, is made again from scratch with
the parameters in `index.json` (`SHARE=0.2`: a fifth; `RANDOM_SEED=7`: which ones; `TABLES_ONLY=1`: none). The weights
of a plain fine-tune take half a gigabyte in the temporary folder (`TMPDIR`). The check fails, with a list, where
something lies outside these bounds:

| | on the same processor, packages and threads | elsewhere |
| :--- | ---: | ---: |
| share of answers with the same text, at least | 0.99 | 0.5 |
| share of answers with the same label, at least | 0.99 | 0.8 |
| log-likelihoods of reference answers, nats a token, at most | 0.001 | 0.05 |
| scores, largest difference as a share of the mean score, at most | 0.001 | 0.25 |
| overlap (Jaccard) of N_t, at least | 0.999 | 0.9 |

Each stance must lie in the 95 % interval that is kept, one changed label aside. The bounds for other machines were set
beforehand: roundings differ there, and a fine-tune and a greedy answer carry them on.
"""
