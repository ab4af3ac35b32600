// The browser's half of the studio: stages that draw with plotly, sliders, cards, and the address.
// eslint-env browser
(() => {
  "use strict";
  const PLOTLY = "__PLOTLY__"; // address of plotly's own bundle, put in by the page
  const node = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };

  let plotly = null;
  const loadPlotly = () =>
    (plotly ??= new Promise((resolve, reject) => {
      const script = node("script");
      script.src = PLOTLY;
      script.onload = () => {
        // With a <base>, plotly would name its clip paths by the address of the moment, which changes with every setting.
        // gradio's is "./": relative addresses mean the same without it.
        document.querySelector("base")?.removeAttribute("href");
        resolve(window.Plotly);
      };
      script.onerror = () => { plotly = null; reject(new Error("plotly did not load")); };
      document.head.append(script);
    }));

  // A link that names a tab will need it soon: fetched and compiled while gradio builds the page.
  if (new URLSearchParams(location.search).has("tab")) loadPlotly();

  // ---- the look of figures, light and dark ----
  const INK = { light: "#33302a", dark: "#d8d4ca" };
  const isDark = () => document.body.classList.contains("dark");
  const look = (dark, automargin) => {
    const ink = INK[dark ? "dark" : "light"];
    const grid = dark ? "#2d3137" : "#e7e2d7";
    const line = dark ? "#4a4f57" : "#b9b2a3";
    const paper = dark ? "#1c1f23" : "#fffdf9";
    const clear = "rgba(0,0,0,0)";
    const axis = {
      gridcolor: grid, linecolor: line, zerolinecolor: line, tickcolor: line, ticks: "outside", ticklen: 4,
      automargin, title: { standoff: 8 }, zerolinewidth: 1, exponentformat: "power", minexponent: 4,
    };
    const space = { ...axis, backgroundcolor: clear, showbackground: false };
    return {
      paper_bgcolor: clear, plot_bgcolor: clear,
      font: { family: getComputedStyle(document.body).fontFamily, color: ink, size: 13 },
      xaxis: axis, yaxis: axis, scene: { xaxis: space, yaxis: space, zaxis: space },
      ternary: { bgcolor: clear, aaxis: axis, baxis: axis, caxis: axis },
      polar: { bgcolor: clear, angularaxis: axis, radialaxis: axis },
      coloraxis: { colorbar: { outlinewidth: 0, thickness: 12 } },
      annotationdefaults: { font: { color: ink } },
      hoverlabel: { bgcolor: paper, bordercolor: line, font: { color: ink } },
      sliderdefaults: { bgcolor: grid, bordercolor: line, activebgcolor: line, font: { color: ink } },
      updatemenudefaults: { bgcolor: paper, bordercolor: line, font: { color: ink } },
    };
  };
  const bars = { outlinewidth: 0, thickness: 12 };
  const traces = Object.fromEntries(
    ["heatmap", "contour", "surface"].map((kind) => [kind, [{ colorbar: bars }]]),
  );

  const CONFIG = { displaylogo: false, showSendToCloud: false, responsive: false, displayModeBar: matchMedia("(hover: none)").matches ? false : "hover",
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d", "toImage"] };
  const AT_ONCE = { mode: "immediate", frame: { duration: 0, redraw: true }, transition: { duration: 0 } };

  // Letters need more contrast than lines: their colour is mixed with ink.
  const legible = (color, dark) => {
    const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
    const ink = channels(INK[dark ? "dark" : "light"]);
    return `rgb(${channels(color).map((own, i) => Math.round(0.6 * own + 0.4 * ink[i])).join()})`;
  };
  const lettered = (note, dark) =>
    (/^#[0-9a-f]{6}$/i.test(note.font?.color) ? { ...note, font: { ...note.font, color: legible(note.font.color, dark) } } : note);

  // `fit`: margins to keep; without them plotly makes room for the labels.
  const themed = (figure, dark, name, fit) => {
    const layout = { ...figure.layout, template: { layout: look(dark, !fit), data: traces }, uirevision: name,
      annotations: figure.layout.annotations?.map((note) => lettered(note, dark)) };
    if (innerWidth < 600) {
      layout.margin = { ...layout.margin, l: Math.min(layout.margin?.l ?? 60, 46), r: 8 };
      layout.font = { ...layout.font, size: 11 };
      // The buttons of a scrubbed figure are as wide as ever; the slider starts to their right.
      layout.sliders = layout.sliders?.map((slider) =>
        ({ ...slider, x: 0.26, len: 0.7 }));
    }
    if (fit) layout.margin = { ...fit, autoexpand: false };
    return { data: figure.data, layout, frames: figure.frames ?? [] };
  };

  const drawPlot = async (holder, figure, name) => {
    const refit = () => {
      if (holder.refit !== refit || !holder.isConnected) return;
      holder.fit = null;
      drawPlot(holder, figure, name);
    };
    clearTimeout(holder.rest);
    holder.refit = refit;
    const Plotly = await loadPlotly();
    // Plotly draws twice to make room for labels: under a moving hand the margins stay, and are fitted once it rests.
    // (Other traces have another legend, which needs its room at once.)
    const isKnown = holder.dataset.name === name && holder.fit?.width === holder.offsetWidth &&
      holder.data?.length === figure.data.length;
    const spec = themed(figure, isDark(), name, isKnown ? holder.fit.margin : null);
    // Squares in rows: no higher than their width lets them be, with room for the names.
    const [rows, columns, room] = figure.layout.meta?.squares ?? [];
    if (rows) spec.layout.height = Math.min(spec.layout.height, rows * (holder.offsetWidth / columns + room) + 24);
    // A zoom and a scrubbed position outlive a redraw of the same view. (plotly's own uirevision lets go of a zoom
    // when the figure brings a new range of its own; it still keeps cameras and hidden traces.)
    if (holder.dataset.name !== name) holder.zoom = {};
    for (const [axis, range] of Object.entries(holder.zoom)) {
      spec.layout[axis] = { ...spec.layout[axis], range: [...range], autorange: false };
    }
    const slider = spec.layout.sliders?.[0];
    const kept = holder.dataset.name === name ? Number(holder.dataset.frame ?? -1) : -1;
    holder.dataset.name = name;
    if (slider && kept >= 0 && kept < slider.steps.length) spec.layout.sliders = [{ ...slider, active: kept }];
    // An animation writes into the traces; the payload stays as it came.
    const data = spec.frames.length ? structuredClone(spec.data) : spec.data;
    await Plotly.react(holder, { data, layout: spec.layout, frames: spec.frames, config: CONFIG });
    if (slider && kept >= 0 && kept < slider.steps.length) await Plotly.animate(holder, [String(kept)], AT_ONCE);
    if (holder.refit !== refit) return; // a later drawing has begun
    const { l, r, t, b } = holder._fullLayout._size;
    if (isKnown) holder.rest = setTimeout(refit, 400);
    else holder.fit = { width: holder.offsetWidth, margin: { l, r, t, b } };
    if (!holder.dataset.watched) {
      holder.dataset.watched = "yes";
      holder.on("plotly_relayout", (change) => {
        for (const [key, value] of Object.entries(change)) {
          const [, axis, end] = key.match(/^([xy]axis\d*)\.(range\[[01]\]|autorange)$/) ?? [];
          if (end === "autorange") delete holder.zoom[axis];
          else if (axis) (holder.zoom[axis] ??= [])[Number(end[6])] = value;
        }
      });
      holder.on("plotly_doubleclick", () => setTimeout(() => { holder.zoom = {}; }));
      holder.on("plotly_sliderchange", (event) => { holder.dataset.frame = event.slider.active; });
      new ResizeObserver(() => {
        if (!holder.offsetWidth || holder.offsetWidth === holder.fit?.width) return;
        Plotly.Plots.resize(holder).then(() => holder.refit());
      }).observe(holder);
    }
  };

  const drawTable = (holder, panel) => {
    const table = node("table");
    if (panel.title) table.append(node("caption", "", panel.title));
    const head = table.createTHead().insertRow();
    panel.columns.forEach((text) => head.append(node("th", "", text)));
    const body = table.createTBody();
    for (const row of panel.rows) {
      const line = body.insertRow();
      row.forEach((cell) => {
        const isNumber = typeof cell === "number" || /^[-+−]?[\d.,]+(e[-+]?\d+)?%?$/.test(cell);
        line.append(node("td", isNumber ? "number" : "", typeof cell === "number" ? cell.toLocaleString("en") : cell));
      });
    }
    const scroller = node("div", "scroller");
    scroller.append(table);
    holder.replaceChildren(scroller);
  };

  const drawPictures = (holder, panel) => {
    const gallery = node("div", "gallery");
    panel.images.forEach((source, i) => {
      const item = node("figure");
      const image = node("img");
      image.src = source;
      image.style.width = `${panel.width}px`;
      image.alt = panel.captions[i] ?? `picture ${i + 1}`;
      item.append(image);
      if (panel.captions[i]) item.append(node("figcaption", "", panel.captions[i]));
      gallery.append(item);
    });
    holder.replaceChildren(...(panel.title ? [node("h4", "", panel.title), gallery] : [gallery]));
  };

  const drawFile = (holder, panel) => {
    const button = node("button", "file", panel.text);
    const content = Uint8Array.from(atob(panel.data), (c) => c.charCodeAt(0));
    button.addEventListener("click", () => save(content, panel.name, "application/octet-stream"));
    holder.replaceChildren(button);
  };

  // ---- the stage ----
  const stages = new Set();

  // `speak` tells the page that the stage came with other prose.
  const stage = (element, props, watch, server, speak) => {
    const part = (name) => element.querySelector(`.stage-${name}`);
    const plots = () => [...part("panels").children].filter((panel) => panel.dataset.kind === "plot");
    let last = {};
    let shown = "";
    let panels = [];
    let drawing = Promise.resolve();
    let prose = "";
    let cancelled = null;

    let pace = 0;
    const rest = () => new Promise((resolve) => { setTimeout(resolve, pace); });

    // A panel that came as it was is left alone, unless it must be seen anew in other colours.
    const draw = async (isAnew = false) => {
      const begun = performance.now();
      const root = part("panels");
      while (root.children.length > panels.length) {
        if (root.lastChild.dataset.kind === "plot") window.Plotly?.purge(root.lastChild);
        root.lastChild.remove();
      }
      for (const [i, panel] of panels.entries()) {
        let holder = root.children[i];
        if (holder?.dataset.kind !== panel.kind) {
          const fresh = node("div", `panel panel-${panel.kind}`);
          fresh.dataset.kind = panel.kind;
          if (holder?.dataset.kind === "plot") window.Plotly?.purge(holder);
          holder ? holder.replaceWith(fresh) : root.append(fresh);
          holder = fresh;
        }
        const name = `${last.id}#${i}`;
        const content = name + JSON.stringify(panel);
        if (holder.content === content && !isAnew) continue;
        holder.content = null;
        if (panel.kind === "plot") await drawPlot(holder, panel.figure, name);
        else ({ table: drawTable, pictures: drawPictures, file: drawFile })[panel.kind](holder, panel);
        holder.content = content;
      }
      part("tools").hidden = panels.length === 0;
      pace = performance.now() - begun;
      element.dataset.drawn = String(Number(element.dataset.drawn ?? 0) + 1);
    };

    const show = () => {
      if (!props.value || props.value === shown) return;
      shown = props.value;
      const said = JSON.parse(props.value);
      if (said.run && said.run === cancelled) return; // on its way when it was cancelled
      const isOther = said.id && said.id !== last.id;
      last = { ...last, ...said };
      element.dataset.said = String(Number(element.dataset.said ?? 0) + 1);
      part("error").hidden = !said.error;
      part("error").textContent = said.error ?? "";
      part("status").hidden = !said.status;
      part("status").lastElementChild.textContent = said.status ?? "";
      const bar = part("status").firstElementChild;
      bar.hidden = !said.busy;
      if (said.progress == null) bar.removeAttribute("value");
      else bar.value = said.progress;
      const isOnlyCount = said.progress != null && !said.panels; // the partial figure it comes after still holds
      if (!isOnlyCount) part("panels").classList.toggle("stale", Boolean(said.error || (said.status && !said.panels)));
      if (said.code !== undefined) {
        part("code").hidden = false;
        part("code").querySelector("code").textContent = said.code;
      }
      if (said.address !== undefined && element.offsetParent) write(said.address);
      if (said.seconds != null) {
        part("seconds").textContent = said.seconds < 0.001 ? "" : `computed in ${said.seconds.toPrecision(2)} s`;
      }
      if (said.panels || isOther) {
        panels = said.panels ?? [];
        // Of a stream only the latest is drawn, and not without a rest: Cancel must be heard.
        drawing = drawing.then(said.busy ? rest : null).then(() => draw()).catch((fault) => {
          part("error").hidden = false;
          part("error").textContent = `The figure could not be drawn: ${fault.message}.`;
        });
      }
      if (isOther) drawing.then(showChosen);
      const told = said.prose ?? (isOther ? "" : prose);
      if (told !== prose) {
        prose = told;
        drawing.then(() => { // the figure first
          // gradio sets formulas in a component of its own, which belongs between figure and tools
          const notes = element.closest(".exhibit").querySelector(".notes");
          if (!element.contains(notes)) part("tools").before(notes);
          window.studio.told = told;
          speak();
        });
      }
    };

    // On a phone the views are one long strip.
    const showChosen = () => {
      const label = element.closest(".exhibit").querySelector(".views .selected");
      const strip = label?.parentElement;
      if (strip) strip.scrollLeft = label.offsetLeft - strip.offsetLeft - (strip.clientWidth - label.offsetWidth) / 2;
    };

    const stop = () => {
      cancelled = last.run;
      if (part("status").hidden || part("status").firstElementChild.hidden) return;
      part("status").firstElementChild.hidden = true;
      part("status").lastElementChild.textContent += " · cancelled, this is what there is";
      part("panels").classList.remove("stale");
    };

    const name = () => (last.id ?? "figure").replace("/", "-");
    const tools = {
      link: async (button) => {
        const address = new URL(last.address, location.origin + location.pathname).href;
        try { await navigator.clipboard.writeText(address); button.textContent = "Copied"; }
        catch { prompt("The address of this figure", address); }
        setTimeout(() => { button.textContent = "Copy link"; }, 1500);
      },
      npz: async () => {
        const { data, error } = await server.npz(last.key);
        if (error) { part("error").hidden = false; part("error").textContent = error; return; }
        save(Uint8Array.from(atob(data), (c) => c.charCodeAt(0)), `${name()}.npz`, "application/zip");
      },
      html: async () => {
        const code = await (await fetch(PLOTLY)).text();
        const figures = panels.filter((panel) => panel.kind === "plot").map((panel) => themed(panel.figure, false, "x"));
        const text = JSON.stringify(figures).replace(/</g, "\\u003c");
        save(`<!doctype html><meta charset="utf-8"><title>${name()}</title><body style="max-width:960px;margin:2em auto;` +
          `font-family:sans-serif"><p><a href="${location.href.replace(/&/g, "&amp;").replace(/"/g, "&quot;")}">Scientific Spaces Studio: ${name()}</a></p>` +
          `<script>${code.replace(/<\/script/g, "<\\/script")}<\/script><script>for(const f of ${text}){const d=document.` +
          `createElement("div");document.body.append(d);Plotly.newPlot(d,f.data,f.layout,{displaylogo:false,responsive:true})` +
          `.then(()=>f.frames&&Plotly.addFrames(d,f.frames))}<\/script>`, `${name()}.html`, "text/html");
      },
      svg: () => picture("svg"),
      png: () => picture("png"),
    };
    const picture = async (format) => {
      for (const [i, holder] of plots().entries()) {
        const { width, height } = holder.getBoundingClientRect();
        const colour = isDark() ? "#15171a" : "#ffffff";
        const layout = { ...holder.layout, paper_bgcolor: colour, width, height, sliders: [], updatemenus: [] };
        const address = await window.Plotly.toImage({ data: holder.data, layout }, { format, width, height, scale: 2 });
        const link = node("a");
        link.href = address;
        link.download = `${name()}${i ? `-${i + 1}` : ""}.${format}`;
        link.click();
      }
    };

    part("tools").addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) tools[button.dataset.do](button);
    });
    // A redraw past gradio's events, one at a time and always the latest: `question(view)` asks the server, `otherwise()`
    // is gradio's way, where the stage is not direct. What was asked before another stage came is asked again.
    const GONE = JSON.stringify({ error: "The studio does not answer; is it still running?", panels: null });
    let next = null;
    let isAsking = false;
    const ask = async (question, otherwise) => {
      next = question;
      if (isAsking) return;
      isAsking = true;
      try {
        while (next) {
          const [asked, before] = [next, last];
          next = null;
          if (!before.direct) { otherwise(); break; }
          const answer = await asked(before.id.split("/")[1]).catch(() => GONE);
          if (last !== before) { next ??= asked; continue; }
          props.value = answer;
          show();
        }
      } finally { isAsking = false; }
    };
    stages.add({ element, readdress: () => last.address && write(last.address), redraw: () => { drawing = drawing.then(() => draw(true)); }, stop, ask });
    watch("value", show);
    show();
  };

  const save = (content, name, type) => {
    const link = node("a");
    link.href = URL.createObjectURL(new Blob([content], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  };

  const stopped = () => stages.forEach((entry) => entry.element.offsetParent && entry.stop());

  const follow = () => {
    let dark = isDark();
    new MutationObserver(() => {
      if (dark === isDark()) return;
      dark = isDark();
      stages.forEach((entry) => entry.element.isConnected ? entry.redraw() : stages.delete(entry));
    }).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  };
  document.body ? follow() : addEventListener("DOMContentLoaded", follow);

  // ---- the address ----
  const given = location.search;
  let unread = true;
  const cardOf = (tab) => [...document.querySelectorAll(".card")].find((card) => card.dataset.tab === tab);
  const tabOf = (query) => new URLSearchParams(query).get("tab");
  const replaceState = history.replaceState.bind(history);
  // Another tab is another page of the browser's history, another setting is not.
  const write = (query) => {
    const kept = [...new URLSearchParams(location.search)].filter(([name]) => name.startsWith("__"));
    const extra = new URLSearchParams(kept).toString();
    const address = location.pathname + (extra ? `${query || "?"}${query ? "&" : ""}${extra}` : query);
    if (tabOf(query) === tabOf(location.search)) replaceState(null, "", address);
    else history.pushState(null, "", address);
    const card = cardOf(tabOf(query));
    document.title = `${card ? `${card.querySelector("h3").textContent} · ` : ""}Scientific Spaces Studio`;
  };
  // gradio's panels borrow `view`, and leave the address without one.
  history.replaceState = (...state) => {
    replaceState(...state);
    if (!new URLSearchParams(location.search).has("view")) stages.forEach((entry) => entry.element.offsetParent && entry.readdress());
  };
  addEventListener("popstate", () => location.reload());
  // What the visitor came with, once, to the exhibit it names.
  const link = (slug) => {
    if (!unread || tabOf(given) !== slug) return "";
    unread = false;
    return given;
  };
  const home = () => { if (!unread || !tabOf(given)) write(""); };

  // ---- controls ----
  // Each maker gets the declared control and `commit(value)`, and returns its node and how to show a value.
  const labelled = (control, field, tag = "label") => {
    const root = node(tag, `control ${control.kind.toLowerCase()}`);
    root.append(node("span", "", control.label), field);
    if (control.help) root.append(node("small", "", control.help));
    return root;
  };

  const makeRange = (control, commit) => {
    const STEPS = 400;
    const number = node("input");
    const range = node("input");
    Object.assign(number, { type: "number", step: "any", ariaLabel: control.label });
    Object.assign(range, { type: "range", ariaLabel: `${control.label}, slider` });
    range.min = control.log ? 0 : control.low;
    range.max = control.log ? STEPS : control.high;
    range.step = control.log ? 1 : control.step;
    const ratio = Math.log(control.high / control.low);
    const tidy = (value) => {
      const bounded = Math.min(Math.max(value, control.low), control.high);
      if (!control.integer) return Number(bounded.toPrecision(10));
      return Math.round(control.low + control.step * Math.round((bounded - control.low) / control.step));
    };
    const fromRange = () => {
      if (!control.log) return tidy(Number(range.value));
      if (Number(range.value) === STEPS) return control.high; // three digits would stop short of 65,536
      return tidy(Number((control.low * Math.exp((ratio * range.value) / STEPS)).toPrecision(3)));
    };
    let held = null;
    const show = (value) => {
      held = value;
      number.value = value;
      range.value = control.log ? (Math.log(value / control.low) / ratio) * STEPS : value;
    };
    range.addEventListener("input", () => { number.value = fromRange(); });
    range.addEventListener("change", () => { held = fromRange(); number.value = held; commit(held); });
    number.addEventListener("change", () => {
      const typed = Number(number.value);
      const value = number.value.trim() === "" || Number.isNaN(typed) ? held : tidy(typed);
      const isNew = value !== held;
      show(value);
      if (isNew) commit(value);
    });
    const root = node("div", "control range");
    root.append(node("span", "", control.label), number, range);
    if (control.help) root.append(node("small", "", control.help));
    return { root, show };
  };

  const makeChoice = (control, commit) => {
    if (!control.several && control.options.length > 4) {
      const select = node("select");
      control.options.forEach(([value, label]) => select.append(new Option(label, value)));
      select.addEventListener("change", () => commit(select.value));
      return { root: labelled(control, select), show: (value) => { select.value = value; } };
    }
    const group = node("div", "chips");
    const boxes = control.options.map(([value, label]) => {
      const box = node("input");
      box.type = control.several ? "checkbox" : "radio";
      box.value = value;
      const chip = node("label");
      chip.append(box, node("span", "", label));
      group.append(chip);
      return box;
    });
    const show = (value) => boxes.forEach((box) => { box.checked = control.several ? value.includes(box.value) : box.value === value; });
    group.addEventListener("change", (event) => {
      if (control.several) { commit(boxes.filter((box) => box.checked).map((box) => box.value)); return; }
      show(event.target.value);
      commit(event.target.value);
    });
    const root = labelled(control, group, "fieldset");
    root.ariaLabel = control.label;
    return { root, show };
  };

  const makeToggle = (control, commit) => {
    const box = node("input");
    box.type = "checkbox";
    box.addEventListener("change", () => commit(box.checked));
    return { root: labelled(control, box), show: (value) => { box.checked = value; } };
  };

  const makeText = (control, commit) => {
    const field = node(control.lines > 1 ? "textarea" : "input");
    if (control.lines > 1) field.rows = control.lines; else field.type = "text";
    field.spellcheck = false;
    let held = "";
    const say = () => { if (field.value !== held) { held = field.value; commit(held); } };
    field.addEventListener("change", say);
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (control.lines === 1 || event.ctrlKey || event.metaKey)) say();
    });
    return { root: labelled(control, field), show: (value) => { held = value ?? ""; field.value = held; } };
  };

  const button = (text, action) => {
    const made = node("button", "", text);
    made.type = "button";
    made.addEventListener("click", action);
    return made;
  };

  const makeDrawing = (control, commit, send) => {
    const canvas = node("canvas");
    Object.assign(canvas, { width: control.width, height: control.height });
    canvas.ariaLabel = `${control.label}: draw here`;
    const pen = canvas.getContext("2d");
    const clear = () => { pen.fillStyle = "#fff"; pen.fillRect(0, 0, canvas.width, canvas.height); };
    clear();
    Object.assign(pen, { lineWidth: Math.max(3, control.width / 24), lineCap: "round", lineJoin: "round" });
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      return [((event.clientX - box.left) * canvas.width) / box.width, ((event.clientY - box.top) * canvas.height) / box.height];
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pen.beginPath();
      pen.moveTo(...at(event));
      pen.lineTo(...at(event));
      pen.stroke();
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!canvas.hasPointerCapture(event.pointerId)) return;
      pen.lineTo(...at(event));
      pen.stroke();
    });
    const fault = node("small");
    canvas.addEventListener("pointerup", () =>
      canvas.toBlob(async (blob) => {
        fault.textContent = "";
        try { await send(new File([blob], "drawing.png", { type: "image/png" })); }
        catch { fault.textContent = "The drawing did not reach the studio; draw a little more to send it again."; }
      }));
    const field = node("div", "drawing-field");
    field.append(canvas, button("Clear", () => { clear(); commit(null); }), fault);
    return { root: labelled(control, field, "div"), show: () => {} };
  };

  const makeUpload = (control, commit, send) => {
    const isPicture = control.accept.includes(".png");
    const input = node("input");
    Object.assign(input, { type: "file", accept: control.accept.join(), ariaLabel: control.label });
    const field = node("div", "upload-field");
    const seen = node("div", "upload-seen");
    const show = (path, file) => {
      if (path === null) { seen.replaceChildren(); input.value = ""; return; }
      if (!file) return; // what this browser sent it shows already
      const picture = node("img");
      if (isPicture) { picture.src = URL.createObjectURL(file); picture.alt = file.name; }
      const isNamed = input.files[0] === file; // then the browser's own field says its name
      seen.replaceChildren(...(isPicture ? [picture] : []), ...(isNamed ? [] : [node("span", "", file.name)]), button("Remove", () => { show(null); commit(null); }));
    };
    const take = async (file) => {
      if (!file) return;
      if (file.size > control.megabytes * 1e6) {
        seen.replaceChildren(node("span", "", `The file is larger than ${control.megabytes} MB; choose a smaller one.`));
        return;
      }
      show("", file);
      try { await send(file); }
      catch { seen.replaceChildren(node("span", "", "The file did not reach the studio; choose it again, or a smaller one.")); }
    };
    input.addEventListener("change", () => take(input.files[0]));
    field.addEventListener("dragover", (event) => event.preventDefault());
    field.addEventListener("drop", (event) => { event.preventDefault(); take(event.dataTransfer.files[0]); });
    field.append(input);
    if (isPicture && navigator.mediaDevices) field.append(camera(take));
    field.append(seen);
    return { root: labelled(control, field, "div"), show };
  };

  // A button that opens the camera and then takes a picture, cut square.
  const camera = (take) => {
    const holder = node("div", "camera");
    const close = (stream) => { stream.getTracks().forEach((track) => track.stop()); holder.replaceChildren(open); };
    const open = button("Camera", async () => {
      try {
        const stream = await navigator.mediaDevices.getUserMedia({ video: true });
        const video = node("video");
        Object.assign(video, { srcObject: stream, autoplay: true, muted: true, playsInline: true });
        const snap = button("Take the picture", () => {
          const side = Math.min(video.videoWidth, video.videoHeight);
          const canvas = node("canvas");
          canvas.width = canvas.height = Math.min(side, 512);
          const corner = [(video.videoWidth - side) / 2, (video.videoHeight - side) / 2];
          canvas.getContext("2d").drawImage(video, ...corner, side, side, 0, 0, canvas.width, canvas.height);
          canvas.toBlob((blob) => take(new File([blob], "camera.png", { type: "image/png" })));
          close(stream);
        });
        holder.replaceChildren(video, snap, button("Close", () => close(stream)));
      } catch { holder.replaceChildren(open, node("small", "", "The camera could not be opened.")); }
    });
    holder.append(open);
    return holder;
  };

  const MAKERS = { Range: makeRange, Choice: makeChoice, Toggle: makeToggle, Numbers: makeText, Text: makeText,
    Drawing: makeDrawing, Upload: makeUpload };

  const controls = (element, props, watch, upload, server, changed, declared) => {
    const made = {};
    const list = element.querySelector(".controls-list");
    const group = `studio-${Math.random().toString(36).slice(2)}`;
    const values = {};
    const shown = {}; // what each control shows, as JSON
    for (const control of declared) {
      let turn = 0; // a file that is still on its way must not undo what came after it
      const commit = (value) => {
        turn += 1;
        values[control.name] = value;
        shown[control.name] = JSON.stringify(value);
        props.value = { ...props.value, values: { ...values } };
        reveal();
        const exhibit = element.closest(".exhibit");
        const beside = [...stages].find((entry) => exhibit.contains(entry.element));
        beside.ask((view) => server.answer([view, props.value]), changed);
      };
      const send = async (file) => {
        const mine = turn += 1;
        const { path } = await upload(file);
        if (mine === turn) commit(path);
      };
      made[control.name] = MAKERS[control.kind]({ lines: 1, ...control }, commit, send);
      made[control.name].root.querySelectorAll("[type=radio]").forEach((box) => { box.name = `${group}-${control.name}`; });
      list.append(made[control.name].root);
    }
    // Whether a control changes anything, by what the others hold (see Control.when).
    const matters = ({ when }) => {
      const others = Object.keys(when).filter((other) => props.value.shown.includes(other));
      return !others.length || others.some((other) => [values[other]].flat().some((value) => when[other].includes(value)));
    };
    const reveal = () => {
      for (const control of declared) {
        made[control.name].root.hidden = !props.value.shown.includes(control.name) || !matters(control);
      }
    };
    // What the page sends is set; what it does not name stays as the visitor has it by now.
    let order = "";
    const show = () => {
      if (order !== props.value.shown.join()) {
        order = props.value.shown.join();
        list.append(...props.value.shown.map((name) => made[name].root)); // in the order of the view
      }
      Object.assign(values, props.value.values);
      props.value = { ...props.value, values: { ...values } };
      for (const [name, value] of Object.entries(values)) {
        if (shown[name] === JSON.stringify(value)) continue;
        shown[name] = JSON.stringify(value);
        made[name].show(value);
      }
      reveal();
    };
    watch("value", show);
    show();
  };

  // ---- cards and stories ----
  // What was picked last; at first the tab that the address names.
  const picked = { tab: tabOf(given), story: null };
  const picks = (element, kind, tell) =>
    element.addEventListener("click", (event) => {
      const item = event.target.closest(`[data-${kind}]`);
      if (!item || event.metaKey || event.ctrlKey) return;
      event.preventDefault();
      picked[kind] = item.dataset[kind];
      tell();
    });
  const chosen = () => {
    return { __type__: "update", ...(cardOf(picked.tab) && { selected: picked.tab }) };
  };

  window.studio = { stage, stopped, controls, picks, picked, chosen, link, home };
})();
