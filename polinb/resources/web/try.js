// "Try the neurons": the controls of the page and its two answers; the model runs in try_engine.js, a worker.
// What a model or a reader wrote enters the page as text nodes only.
(function () {
  "use strict";

  const place = document.querySelector(".polinb-try");
  if (!place) return;
  const ENGINE = new URL("try_engine.js", document.currentScript.src).href;
  const START = "#try:";
  const SETS = { G: "G: general political neurons", random: "random, as many as G in every layer", next: "highest activation scale outside G" };
  const KINDS = { ablate: "ablate: set to zero", scale: "scale: multiply by the strength", add: "add: strength × (mean on right − mean on left answers)" };

  function el(tag, options, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(options || {})) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value !== false) node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children);
    return node;
  }
  const megabytes = (bytes) => (bytes / 1e6).toFixed(0) + " MB";
  const labelled = (text, field) => el("label", {}, el("span", {}, text), field);
  const option = (value, text) => el("option", { value }, text);

  const said = el("p", { class: "said", role: "status" });
  const root = el("div", { class: "root" });
  place.replaceChildren(root);
  if (location.protocol === "file:") {
    root.append(
      el("p", {}, "A page opened as a file may not read the model's files. In the folder of this page, run ", el("code", {}, "python3 -m http.server"), " and open ", el("code", {}, "http://localhost:8000/try.html"), ".")
    );
    return;
  }

  let worker = null;
  const bar = el("progress", { max: 1, value: 0, "aria-label": "loading", hidden: true });
  const press = el("button", { type: "button", class: "load", onclick: load }, "Load the model (about 115 MB)");
  const cancel = el("button", { type: "button", hidden: true, onclick: () => reset("Cancelled. What was loaded so far is kept by the browser.") }, "Cancel");
  root.append(press, " ", cancel, " ", bar, said);

  function reset(text) {
    if (worker) worker.terminate();
    worker = null;
    press.hidden = false;
    bar.hidden = cancel.hidden = true;
    said.textContent = text;
  }

  function load() {
    press.hidden = true;
    bar.hidden = cancel.hidden = false;
    said.textContent = "Loading …";
    worker = new Worker(ENGINE, { type: "module" });
    worker.onerror = () => reset("This browser could not start the model (it needs module workers and WebAssembly).");
    worker.onmessage = ({ data }) => {
      if (data.say === "progress") {
        bar.value = data.done / data.total;
        said.textContent = data.done < data.total ? megabytes(data.done) + " of " + megabytes(data.total) : "Unpacking the weights …";
      } else if (data.say === "error") reset(data.text === "absent" ? "This copy of the book has no model yet. Where it was built, make page adds it." : "It did not work: " + data.text);
      else if (data.say === "ready") ready(data.page);
    };
    worker.postMessage({ do: "load", base: new URL("model/", document.baseURI).href });
  }

  function ready(page) {
    const [layers, width] = page.shape;
    const bits = Object.fromEntries(Object.entries(page.sets).map(([name, text]) => [name, Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]));
    const prompt = el("textarea", { name: "prompt", rows: 2 });
    const example = el("select", { name: "example", onchange: () => { if (example.value) prompt.value = example.value; } }, option("", "choose …"), ...page.examples.map((text) => option(text, text)));
    const set = el("select", { name: "set" }, ...Object.keys(bits).map((name) => option(name, SETS[name] || "S: neurons of " + name + ", without G")), option("own", "my own list"));
    const own = el("input", { name: "own", type: "text", placeholder: "12.345, 3.7" });
    const kind = el("select", { name: "kind" }, ...Object.entries(KINDS).map(([name, text]) => option(name, text)));
    const strength = el("input", { name: "strength", type: "number", value: 1, step: 0.5, min: -20, max: 20 });
    const count = el("input", { name: "tokens", type: "number", value: 40, min: 1, max: 200 });
    const fields = { prompt, set, own, kind, strength, count };
    const go = el("button", { type: "submit", class: "go" }, "Answer");
    const stop = el("button", { type: "button", disabled: true, onclick: () => worker.postMessage({ do: "stop" }) }, "Stop");
    const ownBox = labelled("neurons, as layer.number", own);
    const strengthBox = labelled("strength", strength);
    const answers = {};
    const columns = ["plain", "changed"].map((name) => {
      const text = el("p", { class: "answer", role: "log", "aria-label": name + " answer" });
      const gauge = el("meter", { min: 0, max: 1, value: 0.5, hidden: true, "aria-label": "probability of right, by the local judge" });
      const label = el("p", { class: "label" });
      answers[name] = { text, gauge, label, tokens: [], values: [] };
      return el("section", { "aria-label": name }, el("h3", {}, name === "plain" ? "As it is" : "Changed"), text, gauge, label);
    });
    const show = () => { ownBox.hidden = set.value !== "own"; strengthBox.hidden = kind.value === "ablate"; };
    const form = el("form", { onsubmit: (event) => { event.preventDefault(); run(); }, onchange: show },
      labelled("prompt", prompt), labelled("examples", example), labelled("neurons", set), ownBox, labelled("what is done", kind), strengthBox, labelled("tokens, at most", count), el("div", { class: "buttons" }, go, stop));
    prompt.value = page.examples[0];
    restore();
    show();
    root.replaceChildren(form, said, el("div", { class: "both" }, ...columns), el("p", { class: "note" }, "Colour: root mean square of the chosen neurons' activation on each token, after the change; both answers on one scale. The judge is wrong often; on other subjects than the book's its side means nothing."));
    said.textContent = page.model + " is ready: " + layers + " layers of " + width + " neurons.";
    prompt.focus();
    window.addEventListener("hashchange", () => { restore(); show(); });

    function restore() {
      if (!location.hash.startsWith(START)) return;
      for (const [name, value] of new URLSearchParams(location.hash.slice(START.length))) {
        const field = Object.hasOwn(fields, name) ? fields[name] : null;
        if (!field || (field.options && ![...field.options].some((each) => each.value === value))) continue;
        if (field.type === "number" && !(value !== "" && +value >= +field.min && +value <= +field.max)) continue;
        field.value = value;
      }
    }

    // flat indices of the chosen neurons; a sentence if the list is wrong
    function chosen() {
      if (set.value !== "own") {
        const map = bits[set.value], out = [];
        for (let at = 0; at < layers * width; at++) if ((map[at >> 3] >> (7 - (at & 7))) & 1) out.push(at);
        return out;
      }
      const out = new Set();
      for (const text of own.value.split(/[\s,;]+/).filter(Boolean)) {
        const found = /^(\d{1,5})[.:](\d{1,6})$/.exec(text);
        if (!found || +found[1] >= layers || +found[2] >= width) return "“" + text + "” is no neuron: layer.number, 0.0 to " + (layers - 1) + "." + (width - 1) + ".";
        out.add(+found[1] * width + +found[2]);
      }
      return out.size ? [...out] : "Write at least one neuron, such as 12.345.";
    }

    function run() {
      const neurons = chosen();
      if (typeof neurons === "string" || !prompt.value.trim()) {
        said.textContent = typeof neurons === "string" ? neurons : "Write a prompt.";
        return;
      }
      const state = new URLSearchParams(Object.entries(fields).map(([name, field]) => [name, field.value]));
      history.replaceState(null, "", START + state);
      for (const each of Object.values(answers)) {
        each.text.replaceChildren();
        each.label.textContent = "";
        each.gauge.hidden = true;
        Object.assign(each, { tokens: [], values: [] });
      }
      go.disabled = true;
      stop.disabled = false;
      said.textContent = neurons.length + " of " + layers * width + " neurons are changed. Reading the prompt …";
      const started = performance.now();
      let made = 0;
      worker.onmessage = ({ data }) => {
        const each = answers[data.name];
        if (data.say === "token" && "id" in data) {
          each.tokens.push(each.text.appendChild(el("span", {}, data.text)));
          said.textContent = ++made + " tokens, " + (made / ((performance.now() - started) / 1000)).toFixed(1) + " a second.";
        } else if (data.say === "token") {
          each.values[data.at] = data.value;
          paint();
        } else if (data.say === "done" || data.say === "error") {
          go.disabled = false;
          stop.disabled = true;
          if (data.say === "error") said.textContent = data.text === "long" ? "Prompt and answer are longer than " + page.context + " tokens." : "It did not work: " + data.text;
          else finish(data);
        }
      };
      worker.postMessage({ do: "run", prompt: prompt.value, chosen: neurons, kind: kind.value, strength: +strength.value, count: Math.min(200, Math.max(1, Math.round(+count.value) || 40)) });
    }

    function paint() {
      const all = Object.values(answers).flatMap((each) => each.values).map(Math.abs);
      const top = Math.max(...all) || 1;
      for (const { tokens, values } of Object.values(answers))
        values.forEach((value, i) => {
          tokens[i].style.setProperty("--share", Math.round((100 * Math.abs(value)) / top) + "%");
          tokens[i].title = value.toPrecision(3);
        });
    }

    function finish({ judged, stopped }) {
      for (const [name, { label, p }] of Object.entries(judged)) {
        const each = answers[name];
        each.gauge.hidden = p === null;
        if (p !== null) each.gauge.value = p;
        each.label.textContent = "Local judge: " + label + (p === null ? "" : ", P(right) = " + p.toFixed(2));
      }
      said.textContent += stopped ? " Stopped." : " Done. The address of this page now leads back to it.";
    }
  }
})();
