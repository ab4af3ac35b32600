// ---- panels other than figures ----
const titled = (panel, body) => (panel.title ? [node("h3", "panel-title", panel.title), body] : [body]);

const drawTable = (holder, panel) => {
  const table = node("table");
  if (panel.title) table.append(node("caption", "", panel.title));
  const head = table.createTHead().insertRow();
  const isNumber = panel.columns.map((_, i) => panel.rows.length > 0 && panel.rows.every((row) => row[i]?.[1] || /^[–—-]?$/.test(row[i]?.[0] ?? "")));
  panel.columns.forEach((text, i) => {
    const cell = node("th", isNumber[i] ? "number" : "", text);
    cell.scope = "col";
    head.append(cell);
  });
  const body = table.createTBody();
  for (const row of panel.rows) {
    const line = body.insertRow();
    row.forEach(([text, isOne]) => line.append(node("td", isOne ? "number" : "", text)));
  }
  const scroller = node("div", "scroller");
  scroller.tabIndex = 0;
  scroller.role = "region";
  scroller.ariaLabel = panel.title || panel.columns.join(", ");
  scroller.append(table);
  holder.replaceChildren(scroller);
};

const drawPictures = (holder, panel) => {
  const isGrid = panel.columns.length > 0;
  const gallery = node("div", isGrid ? "gallery grid" : "gallery");
  // the first panel is the largest: its pictures share the room there is
  const share = (holder.offsetWidth - 14 * (panel.images.length - 1)) / panel.images.length;
  const width = !isGrid && holder.classList.contains("hero") ? Math.max(panel.width, Math.min(share, 300)) : panel.width;
  gallery.style.setProperty("--picture", `${width}px`);
  if (isGrid) {
    gallery.style.setProperty("--columns", panel.columns.length);
    gallery.classList.toggle("with-rows", panel.rows.length > 0);
    if (panel.rows.length) gallery.append(node("span"));
    panel.columns.forEach((text) => gallery.append(node("span", "column-head", text)));
  }
  panel.images.forEach((source, i) => {
    const [row, column] = isGrid ? [Math.floor(i / panel.columns.length), i % panel.columns.length] : [0, i];
    if (isGrid && column === 0 && panel.rows.length) gallery.append(node("span", "row-head", panel.rows[row] ?? ""));
    const item = node("figure");
    const image = node("img");
    image.src = source;
    image.alt = [panel.rows[row], isGrid ? panel.columns[column] : "", panel.captions[i]].filter(Boolean).join(", ") || t("picture {number}", { number: i + 1 });
    item.append(image);
    if (panel.captions[i]) item.append(node("figcaption", "", panel.captions[i]));
    gallery.append(item);
  });
  holder.replaceChildren(...titled(panel, gallery));
};

// Text as tiles; a frame a moment.
const drawWriting = (holder, panel, name) => {
  if (holder.dataset.name !== name || holder.frame >= panel.frames.length) holder.frame = undefined;
  holder.dataset.name = name;
  const text = holder.querySelector(":scope > .writing") ?? node("div");
  const lines = panel.frames[holder.frame ?? panel.start] ?? [];
  const isHan = lines.some((pieces) => pieces.some(([said]) => /\p{Script=Han}/u.test(said)));
  text.className = `writing${panel.large ? ` large${isHan ? "" : " letters"}` : ""}`;
  text.replaceChildren(...lines.map((pieces) => {
    const line = node("p");
    for (const [said, color, shade, note] of pieces) {
      const tile = node("span", "tile", said);
      if (color) {
        tile.style.setProperty("--tile", painted(color, THEMES[isDark() ? "dark" : "light"]));
        tile.style.setProperty("--shade", `${Math.round(100 * Math.min(Math.max(shade || 0.25, 0), 1))}%`);
        tile.classList.add("tinted");
        tile.classList.toggle("strong", shade > 0.6);
      }
      if (note) tile.title = note;
      line.append(tile);
    }
    return line;
  }));
  if (!text.isConnected) holder.replaceChildren(...titled(panel, text));
  scrubber(holder, panel, () => drawWriting(holder, panel, name));
};

const drawFile = (holder, panel) => {
  const content = Uint8Array.from(atob(panel.data), (c) => c.charCodeAt(0));
  holder.replaceChildren(button(panel.text, () => save(content, panel.name, "application/octet-stream"), "file"));
};

const drawProse = (holder, panel) => { holder.innerHTML = panel.html; };

const drawFolded = (holder, panel, name, tools) => {
  let fold = holder.querySelector(":scope > details");
  if (!fold) {
    fold = node("details");
    fold.append(node("summary"), node("div", "fold"));
    holder.replaceChildren(fold);
    // what is closed is drawn when it is opened: plotly cannot measure it before
    fold.addEventListener("toggle", () => { if (fold.open) fold.draw(); });
  }
  fold.firstChild.textContent = panel.title;
  fold.draw = () => drawPanels(fold.lastChild, panel.panels, name, tools);
  return fold.open ? fold.draw() : null;
};

const DRAWERS = { table: drawTable, pictures: drawPictures, file: drawFile, prose: drawProse, writing: drawWriting,
  folded: drawFolded, plot: (holder, panel, name, tools) => drawPlot(holder, panel.figure, name, tools) };

// Draws panels into a node; one that came as it was is left alone, unless it must be seen anew in other colours.
const drawPanels = async (root, panels, id, tools, isAnew = false) => {
  const purge = (holder) => holder.querySelectorAll(".js-plotly-plot").forEach((plot) => window.Plotly?.purge(plot));
  while (root.children.length > panels.length) {
    purge(root.lastChild);
    root.lastChild.remove();
  }
  for (const [i, panel] of panels.entries()) {
    let holder = root.children[i];
    if (holder?.dataset.kind !== panel.kind) {
      const fresh = node("div", `panel panel-${panel.kind}`);
      fresh.dataset.kind = panel.kind;
      if (holder) { purge(holder); holder.replaceWith(fresh); } else root.append(fresh);
      holder = fresh;
    }
    if (tools.hero && i === 0) holder.classList.add("hero");
    holder.mark = tools.mark();
    const name = `${id}#${i}`;
    const content = `${name}|${holder.mark}|${JSON.stringify(panel)}`;
    if (holder.content === content && !isAnew) continue;
    holder.content = null;
    await DRAWERS[panel.kind](holder, panel, name, tools);
    if (panel.kind === "plot") {
      holder.role = "group";
      holder.ariaLabel = [tools.alt(), panel.figure.alt].filter(Boolean).join(". ");
    }
    holder.content = content;
  }
};
