// "Try the neurons": the controls of the page, its two answers and the neurons of a reader's text; the model runs in
// try_engine.js, a worker. What a model or a reader wrote enters the page as text nodes only.
(function () {
  "use strict";

  const place = document.querySelector(".polinb-try");
  if (!place) return;
  const { el, button, select, field, table, oneLine, short, save, copy } = polinb.dom;
  const ENGINE = new URL("try_engine.js", document.currentScript.src).href;
  const START = "#try:";
  const SETS = { G: "G: general political neurons", random: "random, as many as G in every layer", next: "highest activation scale outside G" };
  const KINDS = { ablate: "ablate: set to zero", scale: "scale: multiply by the strength", add: "add: strength × (mean on right − mean on left answers)" };
  const STRONGEST = 20;
  const megabytes = (bytes) => (bytes / 1e6).toFixed(0) + " MB";

  const said = el("p", { class: "said", role: "status" });
  const root = el("div", { class: "root" });
  place.classList.add("px");
  place.replaceChildren(root);
  if (location.protocol === "file:") {
    root.append(
      el("p", {}, "A page opened as a file may not read the model's files. In the folder of this page, run ", el("code", {}, "python3 -m http.server"), " and open ", el("code", {}, "http://localhost:8000/try.html"), ".")
    );
    return;
  }

  let worker = null;
  const bar = el("progress", { max: 1, value: 0, "aria-label": "loading", hidden: true });
  const press = button("Load the model (about 115 MB)", load, { class: "load" });
  const cancel = button("Cancel", () => reset("Cancelled. What was loaded so far is kept by the browser."), { hidden: true });
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
    const nameOf = (index) => Math.floor(index / width) + "." + (index % width);
    const setNames = [...Object.keys(bits).map((name) => [name, SETS[name] || "S: neurons of " + name + ", without G"]), ["own", "my own list"]];
    const boxes = {
      prompt: field("prompt", el("textarea", { name: "prompt", rows: 2 })),
      example: select("examples", "example", [["", "choose …"], ...Object.values(page.examples).map((text) => [text, text])]),
      set: select("neurons", "set", setNames),
      own: field("neurons, as layer.number", el("input", { name: "own", type: "text", placeholder: "12.345, 3.7" })),
      kind: select("what is done", "kind", Object.entries(KINDS)),
      strength: field("strength", el("input", { name: "strength", type: "number", value: 1, step: 0.5, min: -20, max: 20 })),
      count: field("tokens, at most", el("input", { name: "tokens", type: "number", value: 40, min: 1, max: 200 })),
    };
    const inputs = Object.fromEntries(Object.entries(boxes).map(([name, box]) => [name, box.querySelector("[name]")]));
    const { example, ...fields } = inputs;
    const { prompt, set, own, kind, strength, count } = fields;
    const go = el("button", { type: "submit", class: "go" }, "Answer");
    const stop = button("Stop", () => worker.postMessage({ do: "stop" }), { class: "stop", disabled: true });
    const answers = {};
    const columns = ["plain", "changed"].map((name) => {
      const text = el("p", { class: "answer", role: "log", "aria-label": name + " answer" });
      const gauge = el("meter", { min: 0, max: 1, value: 0.5, hidden: true, "aria-label": "probability of right, by the local judge" });
      const label = el("p", { class: "label" });
      answers[name] = { text, gauge, label };
      return el("section", { "aria-label": name }, el("h3", {}, name === "plain" ? "As it is" : "Changed"), text, gauge, label);
    });
    const show = () => { boxes.own.hidden = set.value !== "own"; boxes.strength.hidden = kind.value === "ablate"; lab.disabled = kind.value === "add"; };
    const form = el("form", { onsubmit: (event) => { event.preventDefault(); run(); }, onchange: show }, Object.values(boxes), el("div", { class: "buttons" }, go, " ", stop));
    example.onchange = () => { if (example.value) prompt.value = example.value; };
    prompt.value = Object.values(page.examples)[0];

    // what was asked: {fragment, told, answers: name → {pieces, values, judged}}, oldest first
    const past = [];
    const earlier = el("ol", { class: "earlier" });
    const link = button("Copy the link", async () => { said.textContent = (await copy(location.href)) ? "Link copied." : "The address of this page is the link."; });
    const lab = button("Save for JupyterLab", () => save("polinb_lab.py", "text/x-python", program()), { class: "lab" });
    const history_ = el("div", { class: "history", hidden: true }, el("div", { class: "buttons" }, link, " ", lab), el("p", { class: "note" },
      "The saved program asks the live lab (", el("code", {}, "make lab"), ") exactly this; run it in a notebook. The lab has no “add”."), el("h3", {}, "Asked so far"), earlier);

    const text = el("textarea", { name: "text", rows: 3 });
    const look = button("Find its strongest neurons", find, { class: "look" });
    const found = el("div", { class: "found" });
    const mine = el("section", { class: "mine", "aria-label": "my own text" }, el("h3", {}, "My own text"), field("a text of yours", text), look, found);

    restore();
    root.replaceChildren(form, said, el("div", { class: "both" }, columns), el("p", { class: "note" }, "Colour: root mean square of the chosen neurons' activation on each token, after the change; both answers on one scale. The judge is wrong often; on other subjects than the book's its side means nothing."), history_, mine);
    said.textContent = page.model + " is ready: " + layers + " layers of " + width + " neurons.";
    prompt.focus();
    window.addEventListener("hashchange", restore);

    function restore() {
      // a chapter's link asks in the query: the theme reads every fragment as a selector
      const asked = location.hash.startsWith(START) ? location.hash.slice(START.length) : location.search;
      for (const [name, value] of new URLSearchParams(asked)) {
        const input = Object.hasOwn(fields, name) ? fields[name] : null;
        if (!input || (input.options && ![...input.options].some((each) => each.value === value))) continue;
        if (input.type === "number" && !(value !== "" && +value >= +input.min && +value <= +input.max)) continue;
        input.value = value;
      }
      show();
    }

    // flat indices of the chosen neurons; a sentence if the list is wrong
    function chosen() {
      if (set.value !== "own") {
        const map = bits[set.value];
        return Array.from({ length: layers * width }, (_, at) => at).filter((at) => (map[at >> 3] >> (7 - (at & 7))) & 1);
      }
      const out = new Set();
      for (const item of own.value.split(/[\s,;]+/).filter(Boolean)) {
        const match = /^(\d{1,5})[.:](\d{1,6})$/.exec(item);
        if (!match || +match[1] >= layers || +match[2] >= width) return "“" + item + "” is no neuron: layer.number, 0.0 to " + (layers - 1) + "." + (width - 1) + ".";
        out.add(+match[1] * width + +match[2]);
      }
      return out.size ? [...out] : "Write at least one neuron, such as 12.345.";
    }
    const limit = () => Math.min(200, Math.max(1, Math.round(+count.value) || 40));

    function busy(on) {
      for (const each of [go, look, ...earlier.querySelectorAll("button")]) each.disabled = on;
      stop.disabled = !on;
    }

    // Hand a job to the worker; told(data) hears of it until it says `last`, or of an error.
    function job(order, last, told) {
      busy(true);
      worker.onmessage = ({ data }) => {
        if (data.say === "error") said.textContent = data.text === "long" ? "Prompt and answer are longer than " + page.context + " tokens." : "It did not work: " + data.text;
        else told(data);
        if (data.say === "error" || data.say === last) busy(false);
      };
      worker.postMessage(order);
    }

    function run() {
      const neurons = chosen();
      if (typeof neurons === "string" || !prompt.value.trim()) {
        said.textContent = typeof neurons === "string" ? neurons : "Write a prompt.";
        return;
      }
      const state = new URLSearchParams(Object.entries(fields).map(([name, input]) => [name, input.value]));
      const asked = { fragment: START + state, answers: {} };
      for (const name of Object.keys(answers)) asked.answers[name] = { pieces: [], values: [], judged: null };
      history.replaceState(null, "", asked.fragment);
      draw(asked);
      history_.hidden = true;
      said.textContent = neurons.length + " of " + layers * width + " neurons are changed. Reading the prompt …";
      const started = performance.now();
      let made = 0;
      const order = { do: "run", prompt: prompt.value, chosen: neurons, kind: kind.value, strength: +strength.value, count: limit() };
      job(order, "done", (data) => {
        if (data.say === "token" && "id" in data) {
          asked.answers[data.name].pieces.push(data.text);
          answers[data.name].text.append(el("span", {}, data.text));
          said.textContent = ++made + " tokens, " + (made / ((performance.now() - started) / 1000)).toFixed(1) + " a second.";
        } else if (data.say === "token") {
          asked.answers[data.name].values[data.at] = data.value;
          paint(asked);
        } else if (data.say === "done") {
          for (const [name, judged] of Object.entries(data.judged)) asked.answers[name].judged = judged;
          asked.told = said.textContent += data.stopped ? " Stopped." : " Done. The address of this page now leads back to it.";
          keep(asked);
          draw(asked);
        }
      });
    }

    function keep(asked) {
      past.push(asked);
      const words = set.value + ", " + kind.value + (kind.value === "ablate" ? "" : " " + strength.value) + ": " + oneLine(prompt.value);
      const back = button(words, () => {
        history.replaceState(null, "", asked.fragment);
        restore();
        draw(asked);
        said.textContent = asked.told;
      });
      earlier.append(el("li", {}, back));
    }

    function draw(asked) {
      for (const [name, { pieces, judged }] of Object.entries(asked.answers)) {
        const { text: box, gauge, label } = answers[name];
        box.replaceChildren(...pieces.map((piece) => el("span", {}, piece)));
        const p = judged ? judged.p : null;
        gauge.hidden = p === null;
        if (p !== null) gauge.value = p;
        label.textContent = judged ? "Local judge: " + judged.label + (p === null ? "" : ", P(right) = " + p.toFixed(2)) : "";
      }
      paint(asked);
      history_.hidden = !past.length;
    }

    function paint(asked) {
      const top = Math.max(...Object.values(asked.answers).flatMap((each) => each.values).map(Math.abs)) || 1;
      for (const [name, { values }] of Object.entries(asked.answers))
        values.forEach((value, i) => {
          const token = answers[name].text.children[i];
          token.style.setProperty("--share", Math.round((100 * Math.abs(value)) / top) + "%");
          token.title = value.toPrecision(3);
        });
    }

    // The question that is on the screen as a request of polinb's live lab; strings of JSON are strings of Python, too.
    function program() {
      const ranges = [];
      for (const at of chosen().sort((a, b) => a - b)) {
        const open = ranges.at(-1);
        if (open && open[1] === at - 1 && at % width) open[1] = at;
        else ranges.push([at, at]);
      }
      const list = ranges.map(([first, last]) => nameOf(first) + (last > first ? "-" + (last % width) : "")).join(", ");
      const topic = Object.keys(page.examples)[0];
      const values = { model: page.model, prompt: prompt.value, topic, donor_topic: topic, neurons: "own", own: list, kind: kind.value, strength: +strength.value, max_new_tokens: limit() };
      return [
        '"""A question from the page "Try the neurons", asked again: the same answers, token for token."""', "",
        "from polinb.lab.request import Request", "from polinb.lab.session import Session", "",
        "request = Request.of(", ...Object.entries(values).map(([name, value]) => "    " + name + "=" + JSON.stringify(value) + ","), ")",
        "for name, answer in Session().run(request).answers.items():", '    print(name, answer.text, sep="\\n", end="\\n\\n")', "",
      ].join("\n");
    }

    function find() {
      if (!text.value.trim()) {
        said.textContent = "Write a text.";
        return;
      }
      found.replaceChildren();
      job({ do: "read", text: text.value, count: STRONGEST }, "read", (data) => {
        if (data.say === "reading") said.textContent = "Read " + (data.at + 1) + " of " + data.all + " tokens.";
        else if (data.say === "read") {
          said.textContent = data.stopped ? "Stopped." : "Done.";
          list(data.found);
        }
      });
    }

    function list(neurons) {
      if (!neurons.length) {
        found.replaceChildren(el("p", {}, "The text needs at least two tokens."));
        return;
      }
      const top = document.documentElement.dataset.content_root || "";
      const rows = neurons.map(({ index, share, letters }) => {
        const name = nameOf(index);
        const href = top + "chapters/17_neuron_explorer.html#explorer?neuron=" + name;
        const use = button("choose", () => { set.value = "own"; own.value = name; show(); prompt.focus(); }, { "aria-label": "choose neuron " + name });
        return [el("a", { href }, name), short(share), el("code", {}, oneLine(letters)), use];
      });
      found.replaceChildren(
        el("p", { class: "note" }, "The largest activation of each neuron on any token but the first, divided by its activation scale on everyday answers. The number opens the neuron's place in the explorer."),
        el("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "strongest neurons" }, table(null, ["neuron", "activation ÷ scale", "on", ""], rows))
      );
    }
  }
})();
