// Contexts of a neuron: tokens tinted by its activation. Positive and negative differ by hue and by the line under the
// token; each token's numbers stand in a line below, reached with pointer or arrow keys.
(function () {
  "use strict";

  const X = (globalThis.polinbExplorer = globalThis.polinbExplorer || {});
  const { el, signed } = X;
  const VARIANTS = ["vanilla", "left", "right"];
  const WRITER = {
    vanilla: "answer of the vanilla model",
    left: "answer of the left-tuned model",
    right: "answer of the right-tuned model",
  };
  const TITLES = { vanilla: "vanilla", left: "left-tuned", right: "right-tuned" };

  const valuesOf = (context, variant) => (variant === "vanilla" ? context.values : context[variant]) || [];

  function contexts(card, view, on) {
    const all = (card.contexts || []).slice();
    if (!all.length) return el("p", { class: "nx-muted" }, "Not measured in this run.");
    const chosen = view.topic < 0 ? "" : view.topicName;
    all.sort((a, b) => (b.topic === chosen) - (a.topic === chosen)); // the chosen topic's first; sorting is stable
    const top = Math.max(
      1e-12,
      ...all.flatMap((c) => VARIANTS.flatMap((v) => valuesOf(c, v).map(Math.abs).filter(X.finite))),
    );
    const list = el("ol", { class: "nx-contexts" });
    const draw = (variant) => list.replaceChildren(...all.map((context) => one(context, variant, top)));
    draw(view.variant);
    return [
      choice(view.variant, (variant) => {
        on.variant(variant);
        draw(variant);
      }),
      legend(top),
      list,
    ];
  }

  let groups = 0;
  function choice(current, change) {
    const name = "nx-variant-" + ++groups;
    return el(
      "fieldset",
      { class: "nx-choice" },
      el("legend", {}, "Activation in the model"),
      VARIANTS.map((variant) =>
        el(
          "label",
          {},
          el("input", {
            type: "radio",
            name,
            value: variant,
            checked: variant === current,
            onchange: () => change(variant),
          }),
          TITLES[variant],
        ),
      ),
    );
  }

  function legend(top) {
    const sample = (text, sign) => tint(el("span", { class: "nx-tok" }, text), sign, 1);
    return el(
      "p",
      { class: "nx-legend" },
      sample("positive", 0.8),
      sample("negative", -0.8),
      el("span", {}, "strongest tint: activation of size " + X.short(top) + ", the same for the three models"),
    );
  }

  function tint(span, value, top) {
    const size = Math.min(1, Math.abs(value) / top);
    if (!(size > 0.04)) return span;
    span.classList.add(value > 0 ? "nx-pos" : "nx-neg");
    span.style.setProperty("--nx-size", (0.06 + 0.44 * size).toFixed(3)); // the text's contrast holds at the top
    if (size > 0.25) span.classList.add("nx-strong");
    return span;
  }

  function one(context, variant, top) {
    const values = valuesOf(context, variant);
    const readout = el("p", { class: "nx-readout", "aria-live": "polite" });
    const spans = context.tokens.map((token, i) => {
      const span = tint(el("span", { class: "nx-tok" }, X.visible(token)), values[i], top);
      if (i === context.peak) span.classList.add("nx-peak");
      span.addEventListener("pointerenter", () => read(i));
      return span;
    });
    let at = context.peak;
    const read = (i) => {
      spans[at].classList.remove("nx-here");
      at = i;
      spans[at].classList.add("nx-here");
      const numbers = VARIANTS.map((v) => TITLES[v] + " " + signed(valuesOf(context, v)[i]));
      readout.replaceChildren(
        i === context.peak ? "peak " : "token ",
        X.tokenChip(context.tokens[i]),
        " " + numbers.join(" · "),
      );
    };
    const text = el(
      "p",
      {
        class: "nx-context",
        tabindex: "0",
        role: "group",
        "aria-label": "Context; arrow keys read each token's activation",
      },
      spans,
    );
    text.addEventListener("pointerleave", () => read(context.peak));
    text.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, Home: -at, End: spans.length - 1 - at }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      read(Math.min(spans.length - 1, Math.max(0, at + step)));
    });
    read(context.peak);
    const from = el(
      "p",
      { class: "nx-muted" },
      [context.topic, WRITER[context.source] || context.source].filter(Boolean).join(", ") +
        (X.finite(context.start) ? ", from token " + context.start : ""),
    );
    return el("li", {}, from, text, readout);
  }

  Object.assign(X, { contexts });
})();
