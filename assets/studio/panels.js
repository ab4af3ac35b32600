// ---- panels other than figures ----
const titled = (panel, body) => (panel.title ? [node("h3", "panel-title", panel.title), body] : [body]);

// What a story points at in a panel without traces: a heading.
const marking = (holder, headings) => {
  const isMarked = (text) => Boolean(text) && text === holder.said;
  return { isMarked, isFound: headings.some(isMarked) };
};

const drawTable = (holder, panel) => {
  const table = node("table");
  const head = table.createTHead().insertRow();
  const isNumber = panel.columns.map((_, i) => panel.rows.length > 0 && panel.rows.every((row) => row[i]?.[1] || /^[–—-]?$/.test(row[i]?.[0] ?? "")));
  panel.columns.forEach((text, i) => {
    const cell = node("th", isNumber[i] ? "number" : "", text);
    cell.scope = "col";
    head.append(cell);
  });
  const body = table.createTBody();
  const { isFound, isMarked } = marking(holder, [...panel.columns, ...panel.rows.map((row) => row[0]?.[0])]);
  for (const row of panel.rows) {
    const line = body.insertRow();
    row.forEach(([text, isOne], i) => line.append(node("td",
      `${isOne ? "number" : ""}${isFound && i && ![panel.columns[i], row[0]?.[0]].some(isMarked) ? " aside" : ""}`, text)));
  }
  const scroller = node("div", "scroller");
  scroller.tabIndex = 0;
  scroller.role = "region";
  scroller.ariaLabel = panel.title || panel.columns.join(", ");
  scroller.append(table);
  holder.replaceChildren(...titled(panel, scroller));
};

const drawPictures = (holder, panel) => {
  const isGrid = panel.columns.length > 0;
  const gallery = node("div", isGrid ? "gallery grid" : "gallery");
  // the first panel is the largest: its pictures share the room there is; so do those of a grid of few columns
  const across = isGrid ? panel.columns.length : Math.min(panel.images.length, isPhone() ? 3 : Infinity);
  const isHero = holder.classList.contains("hero");
  const hasRows = isGrid && panel.rows.some(Boolean);
  const heads = hasRows && !isPhone() ? 130 : 0;
  const share = (holder.offsetWidth - heads - 14 * (across - 1)) / across;
  const tall = isHero ? roomFor() / Math.max(panel.images.length / across, 1) - (panel.captions.length ? 40 : 14) : Infinity;
  const most = isGrid ? (isHero || across <= 6 ? Math.min(160, share, tall) : 0) : isHero ? Math.min(share, 300) : 0;
  const least = isPhone() && !isGrid ? Math.min(panel.width, share) : panel.width;
  gallery.style.setProperty("--picture", `${Math.floor(Math.max(least, most))}px`);
  if (isGrid) {
    gallery.style.setProperty("--columns", across);
    // on a phone ten columns are seen at once; of more the rest is scrolled to
    const narrow = Math.floor((holder.offsetWidth - 6 * (across - 1)) / across);
    gallery.style.setProperty("--least", panel.captions.length ? "72px" : `${Math.max(26, Math.min(34, narrow))}px`);
    gallery.classList.toggle("with-rows", hasRows);
    if (hasRows && !isPhone()) gallery.append(node("span"));
    panel.columns.forEach((text) => gallery.append(node("span", "column-head", text)));
  }
  const { isFound, isMarked } = marking(holder, [...panel.rows, ...panel.columns, ...panel.captions]);
  panel.images.forEach((source, i) => {
    const [row, column] = isGrid ? [Math.floor(i / panel.columns.length), i % panel.columns.length] : [0, i];
    if (hasRows && column === 0) gallery.append(node("span", "row-head", panel.rows[row] ?? ""));
    const item = node("figure", isFound && ![panel.rows[row], isGrid && panel.columns[column], panel.captions[i]].some(isMarked) ? "aside" : "");
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
    Object.assign(holder, tools.mark());
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
