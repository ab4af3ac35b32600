// ---- a figure: drawn by plotly, scrubbed and dragged by us ----
const isPhone = () => innerWidth < 700;

// How high the first panel may be: the window's height less what stands above and below it.
const roomFor = () => (isPhone() ? Math.max(innerHeight * 0.46, 250) : Math.max(innerHeight - 250, 380));
const heightFor = (figure, holder) => {
  const asked = figure.layout.height ?? 420;
  const isHero = holder.classList.contains("hero");
  const room = roomFor();
  const { phone, aspect } = figure.layout.meta ?? {}; // of pictures: width over height
  if (aspect) return Math.min(asked, holder.offsetWidth / ((isPhone() && phone?.aspect) || aspect) + 36);
  if (figure.square) return Math.min(holder.offsetWidth * 0.98 + 40, isHero ? Math.max(room, isPhone() ? 0 : 480) : 460);
  if (!isHero) return Math.min(asked, isPhone() ? 340 : asked);
  return isPhone() ? Math.min(asked, room) : Math.max(Math.min(asked * 1.35, room), Math.min(asked, 620));
};

// Words in lines that are no wider than that; Chinese breaks anywhere.
const measure = document.createElement("canvas").getContext("2d");
const wrapped = (text, width, size) => {
  measure.font = `600 ${size}px ${getComputedStyle(document.body).fontFamily}`;
  const isLong = (line) => measure.measureText(line.replace(/<[^>]+>/g, "")).width > width;
  return text.split("<br>").flatMap((part) => {
    const lines = [""];
    for (const word of part.match(/\p{Script=Han}|<[^>]+>|[^\s\p{Script=Han}<]+\s*|\s+/gu) ?? []) {
      const line = lines.at(-1) + word;
      if (lines.at(-1).trim() && isLong(line.trimEnd())) lines.push(word.trimStart()); else lines[lines.length - 1] = line;
    }
    return lines.map((line) => line.trimEnd());
  });
};

// A grid of squares with a title above each, as large as the room lets them be.
// meta.cells: how many, in how many columns (0: whatever makes them largest), and whether they fill the width, squares or not;
// the first notes are their titles.
const inCells = (layout, holder) => {
  const [count, asked, isWide] = layout.meta.cells;
  const [between, size] = isPhone() ? [4, 11] : [10, 13];
  const width = holder.offsetWidth;
  const lay = (columns) => {
    const widest = (width - 2) / columns - between;
    const titles = layout.annotations.slice(0, count).map((note) => wrapped(note.text, widest, size));
    const gap = Math.max(...titles.map((lines) => lines.length)) * size * 1.35 + 6;
    const rows = Math.ceil(count / columns);
    const side = Math.min(widest, Math.max(roomFor() / rows - gap, Math.min(widest, 160)));
    return { columns, titles, gap, side, breadth: isWide ? widest : side, height: rows * (side + gap) + 4 };
  };
  const ways = asked ? [lay(asked)] : Array.from({ length: count }, (_, i) => lay(i + 1));
  const worth = ({ side, height }) => side * Math.min(1, roomFor() / height);
  const { columns, titles, gap, side, breadth, height } = ways.reduce((best, way) => (worth(way) > worth(best) ? way : best));
  const made = { height, margin: { l: 1, r: 1, t: 1, b: 1, autoexpand: false } };
  const across = (x) => x / (width - 2);
  const up = (y) => 1 - y / (height - 2);
  made.annotations = layout.annotations.map((note, k) => {
    if (k >= count) return note;
    const left = (k % columns) * (breadth + between);
    const top = Math.floor(k / columns) * (side + gap) + gap;
    const number = k ? k + 1 : "";
    made[`xaxis${number}`] = { ...layout[`xaxis${number}`], domain: [across(left), across(left + breadth)] };
    made[`yaxis${number}`] = { ...layout[`yaxis${number}`], domain: [up(top + side), up(top)] };
    return { ...note, x: across(left), y: up(top), text: titles[k].join("<br>"), font: { ...note.font, size } };
  });
  return made;
};

// On a phone a colour bar lies below the figure; where each cell says its number there is none.
const BAR_BELOW = 44;
const lying = (trace) => {
  if (trace.texttemplate) return { ...trace, showscale: false };
  const under = (bar) => ({ ...bar, orientation: "h", x: 0.04, xanchor: "left", xref: "container", y: 0, yanchor: "bottom", yref: "container",
    len: 0.62, thickness: 9, title: { ...bar.title, text: `${bar.title?.text ?? ""}\u2003`, side: "right" } });
  return trace.colorbar ? { ...trace, colorbar: under(trace.colorbar) }
    : { ...trace, marker: { ...trace.marker, colorbar: under(trace.marker.colorbar) } };
};
const barOf = (trace) => (trace.showscale === false ? null : trace.colorbar ?? trace.marker?.colorbar);

// A log axis of few decades: plotly would say 2 for 20.
const TICKS = Array.from({ length: 51 }, (_, i) => [[1, 2, 5][i % 3], Math.floor(i / 3) - 8]);
const counted = {
  tickmode: "array",
  tickvals: TICKS.map(([digit, power]) => Number(`${digit}e${power}`)),
  ticktext: TICKS.map(([digit, power]) => (power < -3 || power > 5 ? `${digit}×10<sup>${String(power).replace("-", "−")}</sup>` : Number(`${digit}e${power}`).toLocaleString("en", { maximumFractionDigits: 4 }))),
};

// A log axis of whole decades: plotly would write them a quarter larger than all other ticks.
const decades = (every) => {
  const powers = Array.from({ length: 2 * Math.floor(60 / every) + 1 }, (_, i) => (i - Math.floor(60 / every)) * every);
  return {
    tickmode: "array",
    tickvals: powers.map((power) => Number(`1e${power}`)),
    ticktext: powers.map((power) => (power < -2 || power > 3 ? `10<sup>${String(power).replace("-", "−")}</sup>` : Number(`1e${power}`).toLocaleString("en"))),
  };
};

// `fit`: margins to keep; without them plotly makes room for the labels.
const themed = (figure, holder, name, fit) => {
  const dark = isDark();
  const theme = THEMES[dark ? "dark" : "light"];
  const source = painted(figure.layout, theme);
  const layout = { ...source, template: { layout: template(theme, !fit), data: TRACES }, uirevision: name,
    height: heightFor(figure, holder),
    annotations: source.annotations?.map((note) => lettered(note, dark)) };
  for (const [name, axis] of Object.entries(layout)) {
    if (!/^[xy]axis/.test(name) || axis.type !== "log") continue;
    if (axis.dtick === "D2") layout[name] = { ...axis, ...counted };
    if (Number.isInteger(axis.dtick)) layout[name] = { ...axis, ...decades(axis.dtick) };
  }
  delete layout.sliders;
  if (layout.title?.text) { // see `heading`
    layout.margin = { ...layout.margin, t: Math.min(layout.margin?.t ?? 24, 24) };
    delete layout.title;
  }
  delete layout.updatemenus;
  if (isPhone()) {
    for (const [axis, place] of Object.entries(source.meta?.phone ?? {})) if (layout[axis]) layout[axis] = { ...layout[axis], ...place };
    layout.margin = { ...layout.margin, l: Math.min(layout.margin?.l ?? 60, 46), r: 8, t: Math.min(layout.margin?.t ?? 40, 24) };
    layout.font = { ...layout.font, size: 11 };
    layout.showlegend = false; // see `legend`
  }
  if (source.meta?.cells) Object.assign(layout, inCells(layout, holder));
  let data = painted(figure.data, theme);
  if (isPhone() && data.some(barOf)) {
    data = data.map((trace) => (barOf(trace) ? lying(trace) : trace));
    if (data.some(barOf)) {
      layout.height += BAR_BELOW;
      layout.margin.b = (layout.margin.b ?? 40) + BAR_BELOW;
    }
  }
  if (fit) layout.margin = { ...fit, autoexpand: false };
  const frame = figure.frames?.[holder.frame ?? figure.scrub?.start ?? 0];
  if (frame) data = data.map((trace, i) => (frame[i] ? { ...trace, ...painted(frame[i], theme) } : trace));
  if (holder.off?.size) data = data.map((trace) => (holder.off.has(trace.legendgroup ?? trace.name) ? { ...trace, visible: "legendonly" } : trace));
  const mark = holder.mark;
  if (mark && data.some((trace) => trace.meta?.key === mark)) {
    data = data.map((trace) => (trace.meta?.key === mark ? trace : { ...trace, opacity: (trace.opacity ?? 1) * 0.35 }));
  }
  for (const { trace } of figure.drag ?? []) {
    if (!data[trace]) continue;
    const ring = { width: 2.5, color: theme.ink };
    data[trace] = { ...data[trace], marker: { ...data[trace].marker, line: ring } };
  }
  return { data, layout };
};

// Plotly's title takes one line, and a legend of two covers it: ours stands above both.
const heading = (holder, text) => {
  let head = holder.querySelector(":scope > .panel-title");
  if (!text) { head?.remove(); return; }
  if (!head) holder.prepend(head = node("h3", "panel-title"));
  put(head, text.replace(/<[^>]+>/g, ""));
};

// On a phone plotly's legend takes a line an entry, and with it the figure's room: ours flows.
const SIGNS = { x: "×", "x-thin": "×", "x-thin-open": "×", cross: "+", "cross-thin": "+", "cross-thin-open": "+", diamond: "◆", "diamond-open": "◇", "circle-open": "○", square: "■", "square-open": "□", star: "★" };
const legend = (holder, canvas, data, redraw) => {
  holder.querySelector(":scope > .legend")?.remove();
  const entries = isPhone() ? data.filter((trace) => trace.name && trace.showlegend === true) : [];
  if (!entries.length) return;
  const row = node("div", "legend");
  for (const trace of entries) {
    const key = trace.legendgroup ?? trace.name;
    const entry = button("", () => {
      holder.off ??= new Set();
      if (!holder.off.delete(key)) holder.off.add(key);
      redraw();
    });
    entry.setAttribute("aria-pressed", String(!holder.off?.has(key)));
    const { line, marker, mode = "", fillcolor } = trace;
    const isLine = mode.includes("lines") && line?.width !== 0;
    const sign = node("span", isLine ? "sign line" : "sign", isLine ? "" : SIGNS[marker?.symbol] ?? (trace.type === "scatter" ? "●" : "■"));
    const colour = [isLine ? line?.color : null, marker?.color, line?.color, fillcolor].find((one) => typeof one === "string");
    sign.style.color = colour ?? "inherit";
    if (isLine) sign.style.borderTopStyle = { dash: "dashed", dot: "dotted", dashdot: "dashed" }[line?.dash] ?? "solid";
    entry.append(sign, trace.name.replace(/<[^>]+>/g, ""));
    row.append(entry);
  }
  canvas.before(row);
};

// The colour bar of a square stands beside it, not at the far end of a wide page.
const barredAt = (x, data) => data.map((trace) => (trace.colorbar ? { ...trace, colorbar: { ...trace.colorbar, x } }
  : trace.marker?.colorbar ? { ...trace, marker: { ...trace.marker, colorbar: { ...trace.marker.colorbar, x } } } : trace));

// A colour bar outside the axes reserves room. Plotly keeps that room when the bar is gone, and measures a bar that was
// upright and now lies by what is left of the former: at last the axes have no room, and it fails ("axis scaling").
// So room is reserved anew, and a canvas is cleared when a phone is turned, or after a fault.
const react = async (holder, canvas, { data, layout }) => {
  const spec = { data, layout, config: CONFIG };
  const clear = () => { window.Plotly.purge(canvas); canvas.watched = false; };
  if (canvas.spec && canvas.isPhone !== isPhone()) clear();
  Object.assign(canvas, { spec, isPhone: isPhone() });
  if (canvas._fullLayout) canvas._fullLayout._reservedMargin = {};
  try {
    await window.Plotly.react(canvas, spec);
  } catch (fault) {
    if (canvas.spec !== spec) return; // a later drawing has begun
    console.warn(fault);
    clear();
    await window.Plotly.newPlot(canvas, spec);
  }
  if (!canvas.watched) watchZoom(holder, canvas);
  canvas.watched = true;
};

// Zooms are kept in `holder.zoom`, for the next drawing.
const watchZoom = (holder, canvas) => {
  canvas.on("plotly_relayout", (change) => {
    for (const [key, value] of Object.entries(change)) {
      const [, axis, end] = key.match(/^([xy]axis\d*)\.(range\[[01]\]|autorange)$/) ?? [];
      if (end === "autorange") delete holder.zoom[axis];
      else if (axis) (holder.zoom[axis] ??= [])[Number(end[6])] = value;
    }
  });
  canvas.on("plotly_doubleclick", () => setTimeout(() => { holder.zoom = {}; }));
};

const drawPlot = async (holder, figure, name, tools) => {
  const refit = () => {
    if (holder.refit !== refit || !holder.isConnected) return;
    holder.fit = null;
    drawPlot(holder, figure, name, tools);
  };
  clearTimeout(holder.rest);
  holder.refit = refit;
  await loadPlotly();
  // a scrubbed frame stays, unless another is now the one to begin with
  const first = figure.scrub?.labels[figure.scrub.start];
  if (holder.dataset.name !== name || holder.first !== first || holder.frame >= figure.frames?.length) holder.frame = undefined;
  holder.first = first;
  // Plotly draws twice to make room for labels: under a moving hand the margins stay, and are fitted once it rests.
  // (Other traces have another legend, which needs its room at once.)
  const canvas = holder.querySelector(":scope > .plot") ?? holder.appendChild(node("div", "plot"));
  // (plotly keeps the width that it first found, and the holder's may change while it draws)
  const width = holder.offsetWidth;
  const isKnown = holder.dataset.name === name && holder.fit?.width === width &&
    canvas.data?.length === figure.data.length;
  if (holder.dataset.name !== name) Object.assign(holder, { zoom: {}, off: null });
  const spec = themed(figure, holder, name, isKnown ? holder.fit.margin : null);
  spec.layout.width = width || undefined;
  // A zoom outlives a redraw of the same view. (plotly's own uirevision lets go of a zoom when the figure brings a new
  // range of its own; it still keeps cameras and hidden traces.)
  for (const [axis, range] of Object.entries(holder.zoom)) {
    spec.layout[axis] = { ...spec.layout[axis], range: [...range], autorange: false };
  }
  holder.dataset.name = name;
  holder.figure = figure;
  heading(holder, figure.layout.title?.text);
  legend(holder, canvas, spec.data, () => drawPlot(holder, figure, name, tools));
  if (isKnown && holder.fit.bar) spec.data = barredAt(holder.fit.bar, spec.data);
  await react(holder, canvas, spec);
  if (holder.refit !== refit) return; // a later drawing has begun
  const { l, r, t: top, b } = canvas._fullLayout._size;
  if (isKnown) holder.rest = setTimeout(refit, 400);
  else holder.fit = { width, margin: { l, r, t: top, b } };
  if (!isKnown && figure.square && !isPhone() && spec.data.some((trace) => trace.colorbar ?? trace.marker?.colorbar)) {
    const room = width - l - 20;
    const bar = 0.5 + (canvas._fullLayout.xaxis._length / 2 + 14) / room;
    if (bar * room + 70 < room) {
      holder.fit = { width, margin: { l, r: 20, t: top, b }, bar };
      await react(holder, canvas, { data: barredAt(bar, spec.data), layout: { ...spec.layout, margin: { ...holder.fit.margin, autoexpand: false } } });
      if (holder.refit !== refit) return;
    }
  }
  scrubber(holder, figure, () => drawPlot(holder, figure, name, tools));
  if (!holder.dataset.watched) {
    holder.dataset.watched = "yes";
    draggable(holder, canvas, tools);
    new ResizeObserver(() => {
      if (!holder.offsetWidth || holder.offsetWidth === holder.fit?.width) return;
      holder.refit();
    }).observe(holder);
  }
};

// ---- frames: a range and a button, for a figure or for text ----
const scrubber = (holder, panel, redraw) => {
  let bar = holder.querySelector(":scope > .scrub");
  const count = panel.frames?.length ?? 0;
  if (count < 2) { bar?.remove(); return; }
  const labels = panel.scrub?.labels ?? panel.labels ?? [];
  const name = panel.scrub?.name ?? panel.name ?? "";
  if (!bar) {
    bar = node("div", "scrub");
    const range = node("input");
    const said = node("output");
    let timer = null;
    let busy = false;
    const go = async (to) => {
      holder.frame = to;
      range.value = to;
      said.textContent = bar.labelOf(to);
      range.setAttribute("aria-valuetext", said.textContent);
      if (busy) return;
      busy = true;
      try { await bar.redraw(); } finally { busy = false; }
      if (holder.frame !== to && bar.isConnected) go(holder.frame);
    };
    const pause = () => { clearInterval(timer); timer = null; play.textContent = "▶"; play.ariaLabel = t("Play"); };
    const play = button("▶", () => {
      if (timer) { pause(); return; }
      play.textContent = "❚❚";
      play.ariaLabel = t("Pause");
      if (Number(range.value) >= Number(range.max)) go(0);
      timer = setInterval(() => {
        if (!bar.isConnected || Number(range.value) >= Number(range.max)) { pause(); return; }
        if (!busy && holder.offsetParent) go(Number(range.value) + 1);
      }, 90);
    });
    play.ariaLabel = t("Play");
    range.type = "range";
    range.id = `scrub-${uniqueId += 1}`;
    said.htmlFor = range.id;
    range.min = 0;
    range.addEventListener("input", () => { pause(); go(Number(range.value)); });
    bar.append(play, range, said);
    bar.play = () => { if (!timer) play.click(); };
    bar.range = range;
    holder.append(bar);
    // what is to be seen moving first: played once, where motion is welcome
    if ((panel.scrub?.once ?? panel.once) && !matchMedia("(prefers-reduced-motion: reduce)").matches) setTimeout(() => bar.play(), 600);
  }
  bar.redraw = redraw;
  bar.labelOf = (i) => `${name} ${labels[i] ?? i}`.trim();
  bar.range.max = count - 1;
  const at = Math.min(holder.frame ?? panel.scrub?.start ?? panel.start ?? count - 1, count - 1);
  bar.range.value = at;
  bar.range.ariaLabel = name || t("Frame");
  bar.querySelector("output").textContent = bar.labelOf(at);
};

// ---- what can be dragged on a figure is an input: the control follows, and the link ----
const draggable = (holder, canvas, tools) => {
  let held = null;
  const place = (event) => {
    const point = event.touches?.[0] ?? event;
    const box = canvas.getBoundingClientRect();
    return [point.clientX - box.left, point.clientY - box.top];
  };
  // (an array that plotly unpacked still carries its packed form)
  const values = (array) => (ArrayBuffer.isView(array) || Array.isArray(array) ? Array.from(array) : []);
  const nearest = (event) => {
    const [px, py] = place(event);
    let best = null;
    for (const handle of holder.figure.drag ?? []) {
      const trace = canvas._fullData?.[handle.trace];
      if (!trace?.visible || !trace.x) continue;
      const xa = canvas._fullLayout[`xaxis${(trace.xaxis ?? "x").slice(1)}`];
      const ya = canvas._fullLayout[`yaxis${(trace.yaxis ?? "y").slice(1)}`];
      const [xs, ys] = [values(trace._input.x).length ? values(trace._input.x) : values(trace.x), values(trace.y)];
      ys.forEach((y, i) => {
        const x = xa._offset + xa.d2p(xs[i] ?? i);
        const top = ya._offset + ya.d2p(y);
        const isBar = trace.type === "bar";
        const away = isBar ? Math.abs(px - x) + Math.min(Math.abs(py - top), 40) * 0.5 : Math.hypot(px - x, py - top);
        if (away < 22 && (!best || away < best.away)) best = { away, handle, i, xa, ya };
      });
    }
    return best;
  };
  // of the pointer about the held point's circle, in turns, clockwise
  const angle = (event) => {
    const { handle: { turn }, i, xa, ya } = held;
    const [px, py] = place(event);
    return Math.atan2(px - xa._offset - xa.d2p(turn.x[i]), ya._offset + ya.d2p(turn.y[i]) - py) / (2 * Math.PI);
  };
  const start = (event) => {
    if (event.button) return;
    held = nearest(event);
    if (!held) return;
    if (held.handle.turn) {
      held.value = held.handle.turn.values[holder.frame ?? holder.figure.scrub?.start ?? 0];
      held.angle = angle(event);
      holder.frame = undefined;
    }
    event.preventDefault();
    event.stopPropagation();
    canvas.classList.add("dragging");
    for (const [kind, act] of outside) addEventListener(kind, act, true);
  };
  const move = (event) => {
    if (!held) { if (event.type === "mousemove") canvas.classList.toggle("can-drag", Boolean(holder.figure.drag && nearest(event))); return; }
    event.preventDefault();
    event.stopPropagation();
    const [px, py] = place(event);
    const { handle, i, xa, ya } = held;
    const to = {};
    if (handle.x) to[handle.x] = xa.p2d(Math.min(Math.max(px - xa._offset, 0), xa._length));
    if (handle.turn) {
      const now = angle(event);
      held.value += (((now - held.angle + 1.5) % 1) - 0.5) * handle.turn.period[i];
      held.angle = now;
      to[handle.turn.set] = held.value;
    }
    if (handle.y) to[handle.y] = ya.p2d(Math.min(Math.max(py - ya._offset, 0), ya._length));
    tools.set(to, handle.item ? i : null);
    if (!tools.isDirect() && !handle.turn) follow(handle, i, to);
  };
  // Where the figure waits for Run, the point alone is under the hand.
  const follow = ({ trace, ...handle }, i, to) => {
    const moved = {};
    for (const axis of ["x", "y"].filter((one) => handle[one])) {
      const kept = canvas._fullData[trace];
      moved[axis] = [values(values(kept._input[axis]).length ? kept._input[axis] : kept[axis]).with(i, to[handle[axis]])];
    }
    window.Plotly.restyle(canvas, moved, [trace]);
  };
  const end = (event) => {
    if (!held) return;
    held = null;
    for (const [kind, act] of outside) removeEventListener(kind, act, true);
    canvas.classList.remove("dragging");
    tools.settle();
    event.stopPropagation();
  };
  // heard everywhere, while something is held
  const outside = [["mousemove", move], ["mouseup", end], ["touchend", end]];
  for (const kind of ["mousedown", "touchstart"]) canvas.addEventListener(kind, start, { capture: true, passive: false });
  canvas.addEventListener("mousemove", move, true);
  canvas.addEventListener("touchmove", move, { capture: true, passive: false });
};
