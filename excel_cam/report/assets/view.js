"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const root = document.documentElement, grid = byId("cards"), cards = [...grid.children];
  root.classList.remove("static");
  document.querySelector(".toolbar").addEventListener("submit", (event) => event.preventDefault());

  // Beside the pictures there is room for the classes; above them they would push the pictures off the screen
  if (matchMedia("(max-width: 64rem)").matches) {
    for (const fold of document.querySelectorAll("aside details")) fold.open = false;
  }

  const titles = new Map(), byColour = new Map();
  for (const row of document.querySelectorAll("tr[data-value]")) {
    titles.set(row.dataset.value, row.dataset.title);
    for (const code of row.dataset.colours.split(" ")) byColour.set(code, row.dataset.title);
  }

  // The classes of the table filter as the list of classes does
  const filters = [];
  const hasOption = (value) => [...byId("class").options].some((option) => option.value === value);
  for (const row of document.querySelectorAll("tr[data-value]")) {
    if (!hasOption(row.dataset.value)) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "filter";
    button.dataset.value = row.dataset.value;
    const head = row.querySelector("th");
    button.append(...head.childNodes);
    head.append(button);
    row.classList.add("filters");
    row.addEventListener("click", () => {
      byId("class").value = byId("class").value === row.dataset.value ? "" : row.dataset.value;
      filter();
      showLayer();
    });
    filters.push(button);
  }

  // Which images, in what order
  const byName = (a, b) => (a.dataset.name < b.dataset.name ? -1 : 1);
  const iouOf = (card) => (card.dataset.iou === "" ? Infinity : Number(card.dataset.iou));
  const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  const orders = {
    name: byName,
    doubt: (a, b) => compare(Number(b.dataset.doubt), Number(a.dataset.doubt)) || byName(a, b),
    iou: (a, b) => compare(iouOf(a), iouOf(b)) || byName(a, b),
  };
  function filter() {
    const wanted = byId("class").value, part = byId("find").value.trim().toLowerCase();
    const least = Number(byId("least").value) / 100;
    let shown = 0;
    for (const card of cards) {
      const data = card.dataset;
      const fits = (wanted === "" || data.classes.split(" ").includes(wanted))
        && data.name.toLowerCase().includes(part) && Number(data.doubt) >= least;
      card.hidden = !fits;
      shown += fits;
    }
    for (const button of filters) {
      button.setAttribute("aria-pressed", button.dataset.value === wanted);
      button.closest("tr").classList.toggle("chosen", button.dataset.value === wanted);
    }
    byId("none").hidden = shown > 0;
    byId("status").textContent = `${shown.toLocaleString("en")} of ${cards.length.toLocaleString("en")} shown`;
  }
  function sort() {
    cards.sort(orders[byId("sort").value]);
    grid.append(...cards);
  }
  byId("class").addEventListener("change", () => { filter(); showLayer(); });
  byId("find").addEventListener("input", filter);
  byId("least").addEventListener("input", filter);
  byId("sort").addEventListener("change", sort);
  byId("clear").addEventListener("click", () => {
    byId("class").value = "";
    byId("find").value = "";
    byId("least").value = "";
    filter();
    byId("class").focus();
  });
  filter();

  // The names of what is shown, for --list
  const shownCards = () => cards.filter((card) => !card.hidden);
  byId("copy").addEventListener("click", async () => {
    const names = shownCards().map((card) => card.dataset.name);
    const text = names.map((name) => `${name}\n`).join("");
    try {
      await navigator.clipboard.writeText(text);
      byId("status").textContent = `${names.length.toLocaleString("en")} names copied`;
    } catch {
      // Not every browser lets a page do so
      byId("names-text").value = text;
      byId("names").showModal();
      byId("names-text").select();
    }
  });

  // What lies over a photograph, and how strongly
  function choose(card, key) {
    for (const layer of card.querySelectorAll(".layer")) layer.hidden = layer.dataset.layer !== key;
    for (const input of card.querySelectorAll(".layers input")) input.checked = input.value === key;
  }
  function showLayer() {
    const select = byId("layer");
    if (!select) return;
    for (const card of cards) {
      const keys = [...card.querySelectorAll(".layer")].map((layer) => layer.dataset.layer);
      const own = `map-${byId("class").value}`;
      const maps = keys.includes(own) ? own : keys.find((key) => key.startsWith("map-"));
      const key = select.value === "map" ? maps : select.value;
      choose(card, keys.includes(key) ? key : "label");
    }
  }
  byId("layer")?.addEventListener("change", showLayer);
  function setOpacity(element, percent) {
    element.style.setProperty("--opacity", percent / 100);
  }
  byId("opacity").addEventListener("input", (event) => {
    const percent = event.target.value;
    byId("opacity-value").textContent = `${percent} %`;
    setOpacity(root, percent);
    for (const card of cards) {
      card.style.removeProperty("--opacity");
      card.querySelector(".opacity input").value = percent;
      card.querySelector(".opacity output").textContent = `${percent} %`;
    }
  });
  byId("tags").addEventListener("change", (event) => root.classList.toggle("no-tags", !event.target.checked));
  grid.addEventListener("input", (event) => {
    const card = event.target.closest(".card");
    if (event.target.type === "radio") choose(card, event.target.value);
    if (event.target.type !== "range") return;
    setOpacity(card, event.target.value);
    card.querySelector(".opacity output").textContent = `${event.target.value} %`;
  });

  // The class of a pixel: read from the small pictures, whose colours stand for one class each
  const pixelsOf = new Map();
  function titleAt(image, left, top, again) {
    const width = image.naturalWidth, height = image.naturalHeight;
    if (!width) {
      // Not shown so far, so not loaded
      image.addEventListener("load", again, { once: true });
      image.loading = "eager";
      return null;
    }
    if (!pixelsOf.has(image)) {
      const canvas = document.createElement("canvas");
      canvas.width = width;
      canvas.height = height;
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0);
      if (pixelsOf.size > 7) pixelsOf.clear();
      pixelsOf.set(image, context.getImageData(0, 0, width, height).data);
    }
    const pixels = pixelsOf.get(image);
    const x = Math.floor(left * width), y = Math.floor(top * height);
    // On an outline: the nearest pixel that has a class
    for (const [right, down] of [[0, 0], [1, 0], [0, 1], [-1, 0], [0, -1], [1, 1], [2, 0], [0, 2]]) {
      const column = x + right, row = y + down;
      if (column < 0 || row < 0 || column >= width || row >= height) continue;
      const at = 4 * (row * width + column);
      if (pixels[at + 3] === 0) return titles.get("0") ?? "background";
      const code = [0, 1, 2].map((i) => pixels[at + i].toString(16).padStart(2, "0")).join("");
      if (byColour.has(code)) return byColour.get(code);
    }
    return null;
  }
  function readPixel(event) {
    const picture = event.target.closest(".picture");
    for (const other of document.querySelectorAll(".readout:not([hidden])")) {
      if (other.parentElement !== picture) other.hidden = true;
    }
    if (!picture) return;
    const box = picture.getBoundingClientRect();
    const left = (event.clientX - box.left) / box.width, top = (event.clientY - box.top) / box.height;
    if (left < 0 || top < 0 || left >= 1 || top >= 1) return;
    const parts = [], owner = picture.closest(".card") ?? enlarged;
    for (const key of ["truth", "label"]) {
      const image = owner.querySelector(`[data-layer=${key}] img`);
      const title = image && titleAt(image, left, top, () => readPixel(event));
      if (title) parts.unshift(`${key}: ${title}`);
    }
    const readout = picture.querySelector(".readout");
    readout.textContent = parts.join(" · ");
    readout.hidden = parts.length === 0;
  }
  for (const area of [grid, byId("panes")]) {
    area.addEventListener("pointermove", readPixel);
    area.addEventListener("click", readPixel);
    area.addEventListener("pointerleave", () => {
      for (const readout of area.querySelectorAll(".readout")) readout.hidden = true;
    });
  }

  // One image as large as it fits: photograph, truth and label side by side, and what else its card shows
  const large = byId("large"), panes = byId("panes");
  let enlarged = null;
  function pane(card, layer) {
    const figure = document.createElement("figure"), caption = document.createElement("figcaption");
    const picture = card.querySelector(".picture").cloneNode(false);
    picture.append(card.querySelector(".photograph").cloneNode());
    if (layer) {
      picture.append(layer.cloneNode(true));
      picture.lastChild.hidden = false;
    }
    const readout = card.querySelector(".readout").cloneNode();
    readout.hidden = true;
    picture.append(readout);
    for (const image of picture.querySelectorAll("img")) image.loading = "eager";
    const photograph = card.querySelector(".photograph");
    picture.style.setProperty("--ratio", photograph.getAttribute("width") / photograph.getAttribute("height"));
    const choice = layer && card.querySelector(`.layers input[value="${layer.dataset.layer}"]`);
    caption.textContent = choice ? choice.nextElementSibling.textContent : "Photograph";
    figure.append(caption, picture);
    return figure;
  }
  function enlarge(card) {
    const layers = [...card.querySelectorAll(".layer")];
    const keys = new Set(["truth", "label", layers.find((layer) => !layer.hidden)?.dataset.layer]);
    const find = (key) => layers.find((layer) => layer.dataset.layer === key);
    enlarged = card;
    panes.replaceChildren(pane(card), ...[...keys].map(find).filter(Boolean).map((layer) => pane(card, layer)));
    panes.style.setProperty("--panes", panes.children.length);
    setOpacity(panes, card.querySelector(".opacity input").value);
    const all = shownCards(), position = all.indexOf(card);
    byId("large-name").textContent = `${card.dataset.name} (${position + 1} of ${all.length})`;
    byId("previous").disabled = position <= 0;
    byId("next").disabled = position >= all.length - 1;
    if (!large.open) large.showModal();
  }
  function step(by) {
    const all = shownCards(), card = all[all.indexOf(enlarged) + by];
    if (card) enlarge(card);
  }
  function toggleAlone() {
    byId("alone").setAttribute("aria-pressed", large.classList.toggle("photograph-alone"));
  }
  grid.addEventListener("click", (event) => {
    const card = event.target.closest(".card");
    // A finger has no other way to read a pixel; it enlarges by the button
    const onPicture = event.target.closest(".picture") && event.pointerType !== "touch";
    if (card && (onPicture || event.target.closest(".enlarge"))) enlarge(card);
  });
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  byId("alone").addEventListener("click", toggleAlone);
  byId("back").addEventListener("click", () => large.close());
  large.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const actions = { ArrowLeft: () => step(-1), ArrowRight: () => step(1), p: toggleAlone, P: toggleAlone };
    if (!(event.key in actions)) return;
    event.preventDefault();
    actions[event.key]();
  });
  large.addEventListener("close", () => {
    large.classList.remove("photograph-alone");
    byId("alone").setAttribute("aria-pressed", "false");
    panes.replaceChildren();
    enlarged?.scrollIntoView({ block: "nearest" });
    enlarged?.querySelector(".enlarge").focus();
  });
})();
