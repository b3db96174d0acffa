// The model behind "Try the neurons", an ES module that runs as a worker: files with progress, prompt → token ids,
// answers while neurons are changed, and the local judge. Texts go in and out as plain strings.

const CACHE = "polinb-model-";
// name → bytes, for the files of the manifest; kept in the browser's cache where there is one.
export async function fetchFiles(base, names, told) {
  const { files, digest } = await (await ok(new URL("manifest.json", base))).json();
  const cache = await globalThis.caches?.open(CACHE + digest);
  for (const key of cache ? await caches.keys() : [])
    if (key.startsWith(CACHE) && key !== CACHE + digest) await caches.delete(key);
  const wanted = Object.keys(files).filter(names), total = wanted.reduce((sum, name) => sum + files[name], 0);
  const out = {};
  let done = 0;
  for (const name of wanted) {
    const url = new URL(name, base), kept = await cache?.match(url);
    const reader = (kept || (await ok(url))).body.getReader(), bytes = new Uint8Array(files[name]);
    let at = 0;
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      if (at + part.value.length > bytes.length) throw new Error(name + " is longer than the manifest says");
      bytes.set(part.value, at);
      at += part.value.length;
      told((done += part.value.length), total);
    }
    if (at !== bytes.length) throw new Error(name + " is shorter than the manifest says");
    if (!kept) await cache?.put(url, new Response(bytes)).catch(() => {}); // no room: loaded again next time
    out[name] = bytes;
  }
  return out;
}

async function ok(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error("absent");
  return answer;
}

// text → {label, p}: TF-IDF of words and word pairs, then logistic regression, as polinb.stance.judges.LocalJudge
export function makeJudge({ terms, pattern, idf, weights, intercept }) {
  const index = new Map(terms.map((term, i) => [term, i]));
  return (text) => {
    if (!text.trim()) return { label: "unrated", p: null };
    const words = text.toLowerCase().match(new RegExp(pattern, "gu")) || [];
    const counts = new Map();
    for (const term of words.flatMap((word, i) => (i ? [word, words[i - 1] + " " + word] : [word])))
      if (index.has(term)) counts.set(index.get(term), (counts.get(index.get(term)) || 0) + 1);
    if (!counts.size) return { label: "other", p: null };
    const values = [...counts].map(([at, n]) => [at, (1 + Math.log(n)) * idf[at]]);
    const dot = values.reduce((sum, [at, value]) => sum + value * weights[at], 0);
    const length = Math.hypot(...values.map(([, value]) => value));
    const p = 1 / (1 + Math.exp(-(dot / length + intercept)));
    return { label: p === 0.5 ? "other" : p > 0.5 ? "right" : "left", p };
  };
}

// bits of a float16 → its value
const HALF = Float32Array.from({ length: 65536 }, (_, bits) => {
  const power = (bits >> 10) & 31, rest = bits & 1023;
  return (bits & 0x8000 ? -1 : 1) * (power ? 2 ** (power - 15) * (1 + rest / 1024) : 2 ** -14 * (rest / 1024));
});
const sizeOf = ({ shape }) => shape.reduce((all, n) => all * n, 1);

// The floats of a constant, as bytes. In blocks, 32 rows share a scale (q4: and an offset) for each column: first come
// all scales, then all offsets, then codes, two rows in a byte (q4) or one (q8).
export function spread(entry, bytes) {
  const { at, kind, shape } = entry, size = sizeOf(entry), width = shape.at(-1), four = kind === "q4";
  if (kind === "f32") return bytes.subarray(at, at + 4 * size);
  const start = bytes.byteOffset + at, halves = new Uint16Array(bytes.buffer, start, (size / 32) * (four ? 2 : 1));
  const codes = new (four ? Uint8Array : Int8Array)(bytes.buffer, start + halves.byteLength, four ? size / 2 : size);
  const out = new Float32Array(size), scale = new Float32Array(width), offset = new Float32Array(width);
  for (let block = 0, from = 0; block < size / 32; block += width) {
    for (let n = 0; n < width; n++) {
      scale[n] = HALF[halves[block + n]];
      if (four) offset[n] = HALF[halves[size / 32 + block + n]];
    }
    for (let to = 32 * block, end = to + (four ? 16 : 32) * width; to < end; )
      for (let n = 0; n < width; n++, from++, to++)
        if (four) {
          out[to] = scale[n] * (codes[from] & 15) + offset[n];
          out[to + 16 * width] = scale[n] * (codes[from] >> 4) + offset[n];
        } else out[to] = scale[n] * codes[from];
  }
  return new Uint8Array(out.buffer);
}

// Frees at once what would else wait for the browser's garbage collection.
const release = (bytes) => bytes?.buffer.transfer?.(0);

// A file of floats that exists only while the runtime copies it: in memory are the blocks and the runtime's own floats.
class Floats extends Uint8Array {
  static of(entry, bytes) { return Object.assign(new Floats(), { entry, bytes }); }
  get byteLength() { return 4 * sizeOf(this.entry); }
  subarray(from, to) {
    release(Floats.last);
    const made = spread(this.entry, this.bytes);
    Floats.last = made.buffer === this.bytes.buffer ? null : made;
    return made.subarray(from, to);
  }
}

export class Engine {
  static async load(base, told) {
    const files = await fetchFiles(base, (name) => !name.startsWith("ort") && !name.startsWith("tokenizers."), told);
    const read = (name) => JSON.parse(new TextDecoder().decode(files[name]));
    const floats = (name) => new Float32Array(files[name].buffer);
    const scripts = ["ort.wasm.min.mjs", "tokenizers.min.mjs"].map((name) => import(new URL(name, base).href));
    const [ort, { Tokenizer }] = await Promise.all(scripts);
    Object.assign(ort.env.wasm, { wasmPaths: new URL("./", base).href, numThreads: 1 });
    const page = read("page.json"), tokenizer = new Tokenizer(read("tokenizer.json"), {});
    const data = ([path, entry]) => ({ path, data: Floats.of(entry, files[entry.file]) });
    const session = await ort.InferenceSession.create(files["model.onnx"], {
      executionProviders: ["wasm"],
      externalData: Object.entries(read("weights.json")).map(data),
      extra: { session: { disable_prepacking: "1" } }, // packing would copy what is laid out for it already
    });
    release(Floats.last);
    for (const name of Object.keys(files)) if (name.startsWith("weights.")) release(files[name]);
    const parts = { judge: makeJudge(page.judge), difference: floats("difference.bin"), scale: floats("scale.bin") };
    return Object.assign(new Engine(), { ort, page, tokenizer, session, ...parts });
  }

  ids(prompt) {
    const { before, lead, after } = this.page.template;
    return [...before, ...this.plain(lead + prompt), ...after];
  }

  plain(text) { return text ? this.tokenizer.encode(text, { add_special_tokens: false }).ids : []; }

  text(ids) {
    const letters = ids.filter((id) => !(id in this.page.special));
    return letters.length ? this.tokenizer.decode(letters, { skip_special_tokens: false }) : "";
  }

  // chosen: flat indices of neurons; kind: plain, ablate, scale or add
  change(chosen, kind, strength) {
    const factor = new Float32Array(this.difference.length).fill(1), addend = new Float32Array(factor.length);
    for (const at of chosen)
      if (kind === "add") addend[at] = strength * this.difference[at];
      else factor[at] = { plain: 1, ablate: 0, scale: strength }[kind];
    return { factor, addend };
  }

  async step(ids, past, { factor, addend }) {
    const { Tensor } = this.ort, { shape } = this.page;
    const out = await this.session.run({
      ids: new Tensor("int64", BigInt64Array.from(ids, BigInt), [ids.length]),
      past: past || new Tensor("float32", new Float32Array(0), this.page.past),
      factor: new Tensor("float32", factor, shape),
      addend: new Tensor("float32", addend, shape),
    });
    return { logits: out.logits.data, past: out.present, act: out.act.data };
  }

  // A text's tokens after its first, on which models write much whatever it is: {at, letters, act}, act of all neurons
  async *read(text) {
    const ids = this.plain(text).slice(0, this.page.context), nothing = this.change([], "plain", 1);
    let out = {};
    for (const [at, id] of ids.entries()) {
      out = await this.step([id], out.past, nothing);
      if (at) yield { at, all: ids.length, letters: this.text([id]), act: out.act };
    }
  }

  // A greedy answer: {id, text} of each new token, then {at, value}, what the chosen neurons had when it was read.
  async *answer(ids, chosen, change, count) {
    if (ids.length + count > this.page.context) throw new Error("long");
    const made = [];
    let out = {}, feed = ids, shown = "";
    for (;;) {
      out = await this.step(feed, out.past, change);
      if (made.length) yield { at: made.length - 1, value: strengthOf(out.act, chosen, change) };
      const best = out.logits.indexOf(out.logits.reduce((a, b) => Math.max(a, b)));
      if (made.length === count || this.page.stop.includes(best)) return;
      made.push(best);
      const whole = this.text(made);
      const grown = whole.endsWith("\ufffd") ? shown : whole; // a letter of several tokens comes with its last one
      yield { id: best, text: grown.slice(shown.length) };
      shown = grown;
      feed = [best];
    }
  }
}

// Root mean square of the chosen activations after the change; one neuron alone keeps its sign.
function strengthOf(act, chosen, { factor, addend }) {
  const after = (at) => act[at] * factor[at] + addend[at];
  if (chosen.length === 1) return after(chosen[0]);
  return Math.sqrt(chosen.reduce((sum, at) => sum + after(at) ** 2, 0) / (chosen.length || 1));
}

if (typeof WorkerGlobalScope !== "undefined" && globalThis instanceof WorkerGlobalScope) {
  let engine = null, current = 0;
  const pause = () => new Promise((resolve) => setTimeout(resolve)); // lets a stop come in
  const doing = {
    async load({ base }) {
      engine = await Engine.load(base, (done, total) => postMessage({ say: "progress", done, total }));
      const { judge, template, special, ...page } = engine.page;
      postMessage({ say: "ready", page });
    },
    async run({ prompt, chosen, kind, strength, count }) {
      const mine = ++current, ids = engine.ids(prompt), texts = { plain: "", changed: "" };
      const stream = (...change) => engine.answer(ids, chosen, engine.change(chosen, ...change), count);
      const streams = { plain: stream("plain", 1), changed: stream(kind, strength) };
      while (Object.keys(streams).length && mine === current) {
        for (const name of Object.keys(streams)) {
          const { value, done } = await streams[name].next();
          if (done) delete streams[name];
          else {
            texts[name] += value.text ?? "";
            postMessage({ say: "token", name, ...value });
          }
          await pause();
        }
      }
      const judged = Object.fromEntries(Object.entries(texts).map(([name, text]) => [name, engine.judge(text.trim())]));
      postMessage({ say: "done", judged, stopped: mine !== current });
    },
    // the neurons with the largest |activation| ÷ scale on any token of a text
    async read({ text, count }) {
      const mine = ++current, best = new Float32Array(engine.scale.length), letters = [];
      for await (const { at, all, letters: piece, act } of engine.read(text)) {
        act.forEach((value, i) => {
          const share = value / engine.scale[i];
          if (Math.abs(share) > Math.abs(best[i])) [best[i], letters[i]] = [share, piece];
        });
        postMessage({ say: "reading", at, all });
        await pause();
        if (mine !== current) break;
      }
      const order = [...best.keys()].filter((i) => best[i]).sort((a, b) => Math.abs(best[b]) - Math.abs(best[a]));
      const found = order.slice(0, count).map((index) => ({ index, share: best[index], letters: letters[index] }));
      postMessage({ say: "read", found, stopped: mine !== current });
    },
    stop() { current++; },
  };
  onmessage = async ({ data }) => {
    try {
      await doing[data.do](data);
    } catch (error) {
      postMessage({ say: "error", text: String(error?.message || error) });
    }
  };
}
