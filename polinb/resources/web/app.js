// Starts an interactive part of a page: unpacks the data beside it and calls the part's render(root, payload, blobs),
// which draws into root, an empty element; payload is the JSON, blobs a map name → Uint8Array.

async function unpack(script) {
  const bytes = Uint8Array.from(atob(script.textContent.trim()), (char) => char.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function start(element) {
  element.dataset.state = "drawing";
  const root = polinb.dom.el("div.polinb-app-root"), parts = {};
  try {
    for (const data of element.querySelectorAll("script.polinb-data")) parts[data.dataset.name] = await unpack(data);
    const { payload, ...blobs } = parts;
    element.append(root);
    render(root, JSON.parse(new TextDecoder().decode(payload)), blobs);
    element.querySelector(".polinb-app-fallback").hidden = true;
    element.dataset.state = "ready";
  } catch (error) {
    root.remove();
    element.dataset.state = "error";
    element.dataset.error = String(error);
    console.error("polinb:", error);
  }
}

document.addEventListener("DOMContentLoaded", () => document.querySelectorAll("div.polinb-app").forEach(start));
