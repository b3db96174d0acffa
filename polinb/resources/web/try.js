// "Try the neurons": the controls of the page, its two answers and the neurons of a reader's text; the model runs in
// try_engine.js, a worker. What a model or a reader wrote enters the page as text nodes only.

const { el, button, select, field, table, oneLine, short, save, copy } = polinb.dom;
const ENGINE = new URL("try_engine.js", document.currentScript.src).href;
const START = "#try:";
const SETS = {
  G: "G: general political neurons",
  ...{ random: "random, as many as G in every layer", next: "highest activation scale outside G" },
};
const KINDS = {
  ...{ ablate: "ablate: set to zero", scale: "scale: multiply by the strength" },
  add: "add: strength × (mean on right − mean on left answers)",
};
const STRONGEST = 20;
let worker = null;
const said = el("p.said", { role: "status" }), root = el("div.root"), place = document.querySelector(".polinb-try");
const tell = (text) => { said.textContent = text; };
const bar = el("progress", { max: 1, value: 0, "aria-label": "loading", hidden: true });
const press = button("Load the model (about 115 MB)", load, { class: "load" });
const cancelled = "Cancelled. What was loaded so far is kept by the browser.";
const cancel = button("Cancel", () => reset(cancelled), { hidden: true });
place.classList.add("px");
place.replaceChildren(root);
if (location.protocol === "file:")
  root.append(el("p", "A page opened as a file may not read the model's files. In the folder of this page, run ",
    el("code", "python3 -m http.server"), " and open ", el("code", "http://localhost:8000/try.html"), "."));
else root.append(press, " ", cancel, " ", bar, said);

function reset(text) {
  worker.terminate();
  press.hidden = false;
  bar.hidden = cancel.hidden = true;
  tell(text);
}

function load() {
  press.hidden = true;
  bar.hidden = cancel.hidden = false;
  tell("Loading …");
  worker = new Worker(ENGINE, { type: "module" });
  worker.onerror = () => reset("This browser could not start the model (it needs module workers and WebAssembly).");
  worker.onmessage = ({ data: { say, done, total, text, page } }) => {
    const megabytes = (bytes) => (bytes / 1e6).toFixed(0) + " MB";
    if (say === "ready") return ready(page);
    const absent = "This copy of the book has no model yet. Where it was built, make page adds it.";
    if (say === "error") return reset(text === "absent" ? absent : "It did not work: " + text);
    bar.value = done / total;
    tell(done < total ? megabytes(done) + " of " + megabytes(total) : "Unpacking the weights …");
  };
  worker.postMessage({ do: "load", base: new URL("model/", document.baseURI).href });
}

function ready(page) {
  const [layers, width] = page.shape, examples = Object.values(page.examples);
  const nameOf = (index) => Math.floor(index / width) + "." + (index % width);
  const go = el("button.go", { type: "submit" }, "Answer");
  const stop = button("Stop", () => worker.postMessage({ do: "stop" }), { class: "stop", disabled: true });
  const number = (name, options) => el("input", { name, type: "number", ...options });
  const sets = Object.keys(page.sets).map((name) => [name, SETS[name] || `S: neurons of ${name}, without G`]);
  const asExample = ({ target }) => { prompt.value = target.value || prompt.value; };
  const form = el("form", { onsubmit: run, onchange: show },
    field("prompt", el("textarea", { name: "prompt", rows: 2 }, examples[0])),
    select("examples", null, [["", "choose …"], ...examples.map((text) => [text, text])], { onchange: asExample }),
    select("neurons", "set", [...sets, ["own", "my own list"]]),
    field("neurons, as layer.number", el("input", { name: "own", type: "text", placeholder: "12.345, 3.7" })),
    select("what is done", "kind", Object.entries(KINDS)),
    field("strength", number("strength", { value: 1, step: 0.5, min: -20, max: 20 })),
    field("tokens, at most", number("count", { value: 40, min: 1, max: 200 })),
    el("div.buttons", go, " ", stop));
  const { prompt, set, own, kind, strength, count } = form.elements;
  const answers = {}; // plain and changed: their text, gauge and label
  const columns = Object.entries({ plain: "As it is", changed: "Changed" }).map(([name, title]) => {
    const text = el("p.answer", { role: "log", "aria-label": name + " answer" }), label = el("p.label");
    const gauge = el("meter", { hidden: true, "aria-label": "probability of right, by the local judge" });
    answers[name] = { text, gauge, label };
    return el("section", { "aria-label": name }, el("h3", title), text, gauge, label);
  });
  const earlier = el("ol.earlier");
  const copyLink = async () => {
    tell((await copy(location.href)) ? "Link copied." : "The address of this page is the link.");
  };
  const lab = button("Save for JupyterLab", () => save("polinb_lab.py", "text/x-python", program()), { class: "lab" });
  const past = el("div.history", { hidden: true }, el("div.buttons", button("Copy the link", copyLink), " ", lab),
    el("p.note", "The saved program asks the live lab (", el("code", "make lab"),
      ") exactly this; run it in a notebook. The lab has no “add”."),
    el("h3", "Asked so far"), earlier);
  const text = el("textarea", { name: "text", rows: 3 }), found = el("div.found");
  const look = button("Find its strongest neurons", find, { class: "look" });
  restore();
  root.replaceChildren(form, said, el("div.both", columns),
    el("p.note", "Colour: root mean square of the chosen neurons' activation on each token, after the change; both " +
      "answers on one scale. The judge is wrong often; on other subjects than the book's its side means nothing."),
    past,
    el("section.mine", { "aria-label": "my own text" },
      el("h3", "My own text"), field("a text of yours", text), look, found));
  tell(`${page.model} is ready: ${layers} layers of ${width} neurons.`);
  prompt.focus();
  addEventListener("hashchange", restore);

  function show() {
    own.parentElement.hidden = set.value !== "own";
    strength.parentElement.hidden = kind.value === "ablate";
    lab.disabled = kind.value === "add";
  }

  // the state in the address; what a field does not take changes nothing
  function restore() {
    // a chapter's link asks in the query: the theme reads every fragment as a selector
    const asked = location.hash.startsWith(START) ? location.hash.slice(START.length) : location.search;
    for (const [name, value] of new URLSearchParams(asked)) {
      const input = form.elements.namedItem(name), before = input?.value;
      if (!input) continue;
      input.value = value;
      if (!input.validity.valid || (value && !input.value)) input.value = before;
    }
    show();
  }

  // flat indices of the chosen neurons; a sentence if the list is wrong
  function chosen() {
    if (set.value !== "own") {
      const bits = atob(page.sets[set.value]), all = [...Array(layers * width).keys()];
      return all.filter((at) => (bits.charCodeAt(at >> 3) >> (7 - (at & 7))) & 1);
    }
    const out = new Set();
    for (const item of own.value.split(/[\s,;]+/).filter(Boolean)) {
      const [, layer, neuron] = (/^(\d{1,5})[.:](\d{1,6})$/.exec(item) || []).map(Number);
      if (!(layer < layers && neuron < width))
        return `“${item}” is no neuron: layer.number, 0.0 to ${nameOf(layers * width - 1)}.`;
      out.add(layer * width + neuron);
    }
    return out.size ? [...out] : "Write at least one neuron, such as 12.345.";
  }

  function busy(on) {
    for (const each of [go, look, ...earlier.querySelectorAll("button")]) each.disabled = on;
    stop.disabled = !on;
  }

  // Hand a job to the worker; told(data) hears of it until it says `last`, or of an error.
  function job(order, last, told) {
    busy(true);
    worker.onmessage = ({ data }) => {
      const long = `Prompt and answer are longer than ${page.context} tokens.`;
      if (data.say === "error") tell(data.text === "long" ? long : "It did not work: " + data.text);
      else told(data);
      if (data.say === "error" || data.say === last) busy(false);
    };
    worker.postMessage(order);
  }
  const most = () => Math.min(200, Math.max(1, Math.round(+count.value) || 40));

  function run(event) {
    event.preventDefault();
    const neurons = chosen();
    if (typeof neurons === "string") return tell(neurons);
    if (!prompt.value.trim()) return tell("Write a prompt.");
    const [plain, changed] = [0, 1].map(() => ({ pieces: [], values: [], judged: null }));
    const asked = { fragment: START + new URLSearchParams(new FormData(form)), answers: { plain, changed } };
    history.replaceState(null, "", asked.fragment);
    draw(asked, true);
    past.hidden = true;
    tell(`${neurons.length} of ${layers * width} neurons are changed. Reading the prompt …`);
    const started = performance.now();
    let made = 0;
    const order = { do: "run", prompt: prompt.value, chosen: neurons, kind: kind.value };
    job({ ...order, strength: +strength.value, count: most() }, "done", (data) => {
      if (data.say === "done") {
        for (const [name, judged] of Object.entries(data.judged)) asked.answers[name].judged = judged;
        const end = data.stopped ? " Stopped." : " Done. The address of this page now leads back to it.";
        asked.told = said.textContent += end;
        keep(asked);
        draw(asked);
      } else if ("id" in data) {
        asked.answers[data.name].pieces.push(data.text);
        draw(asked);
        tell(`${++made} tokens, ${(made / ((performance.now() - started) / 1000)).toFixed(1)} a second.`);
      } else {
        asked.answers[data.name].values[data.at] = data.value;
        draw(asked);
      }
    });
  }

  function keep(asked) {
    const change = kind.value + (kind.value === "ablate" ? "" : " " + strength.value);
    const back = button(`${set.value}, ${change}: ${oneLine(prompt.value)}`, () => {
      history.replaceState(null, "", asked.fragment);
      restore();
      draw(asked, true);
      tell(asked.told);
    });
    earlier.append(el("li", back));
    past.hidden = false;
  }

  // Adds what an answer got since it was drawn: what was said stays as it is for a screen reader.
  function draw(asked, anew = false) {
    const top = Math.max(...Object.values(asked.answers).flatMap((each) => each.values).map(Math.abs)) || 1;
    for (const [name, { pieces, values, judged }] of Object.entries(asked.answers)) {
      const { text: box, gauge, label } = answers[name], p = judged?.p ?? null;
      if (anew) box.replaceChildren();
      pieces.forEach((piece, i) => box.children[i] || box.append(el("span", piece)));
      values.forEach((value, i) => {
        box.children[i].style.setProperty("--share", Math.round((100 * Math.abs(value)) / top) + "%");
        box.children[i].title = value.toPrecision(3);
      });
      gauge.hidden = p === null;
      gauge.value = p ?? 0.5;
      const right = p === null ? "" : ", P(right) = " + p.toFixed(2);
      label.textContent = judged ? `Local judge: ${judged.label}${right}` : "";
    }
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
    const values = {
      ...{ model: page.model, prompt: prompt.value, topic, donor_topic: topic, neurons: "own", own: list },
      ...{ kind: kind.value, strength: +strength.value, max_new_tokens: most() },
    };
    return [
      '"""A question from the page "Try the neurons", asked again: the same answers, token for token."""', "",
      "from polinb.lab.request import Request", "from polinb.lab.session import Session", "",
      "request = Request.of(",
      ...Object.entries(values).map(([name, value]) => `    ${name}=${JSON.stringify(value)},`), ")",
      "for name, answer in Session().run(request).answers.items():",
      '    print(name, answer.text, sep="\\n", end="\\n\\n")', "",
    ].join("\n");
  }

  function find() {
    if (!text.value.trim()) return tell("Write a text.");
    found.replaceChildren();
    job({ do: "read", text: text.value, count: STRONGEST }, "read", (data) => {
      if (data.say === "reading") return tell(`Read ${data.at + 1} of ${data.all} tokens.`);
      tell(data.stopped ? "Stopped." : "Done.");
      list(data.found);
    });
  }

  function list(neurons) {
    if (!neurons.length) return found.replaceChildren(el("p", "The text needs at least two tokens."));
    const top = document.documentElement.dataset.content_root || "";
    const rows = neurons.map(({ index, share, letters }) => {
      const name = nameOf(index), href = `${top}chapters/17_neuron_explorer.html#explorer?neuron=${name}`;
      const choose = () => {
        set.value = "own";
        own.value = name;
        show();
        prompt.focus();
      };
      const use = button("choose", choose, { "aria-label": "choose neuron " + name });
      return [el("a", { href }, name), short(share), el("code", oneLine(letters)), use];
    });
    found.replaceChildren(
      el("p.note", "The largest activation of each neuron on any token but the first, divided by its activation " +
        "scale on everyday answers. The number opens the neuron's place in the explorer."),
      el("div.wide", { tabindex: 0, role: "region", "aria-label": "strongest neurons" },
        table(null, ["neuron", "activation ÷ scale", "on", ""], rows)));
  }
}
