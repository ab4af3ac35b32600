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
      script.onload = () => resolve(window.Plotly);
      script.onerror = () => { plotly = null; reject(new Error("plotly did not load")); };
      document.head.append(script);
    }));

  // ---- the look of figures, light and dark ----
  const isDark = () => document.body.classList.contains("dark");
  const look = (dark) => {
    const ink = dark ? "#d8d4ca" : "#33302a";
    const grid = dark ? "#2d3137" : "#e7e2d7";
    const line = dark ? "#4a4f57" : "#b9b2a3";
    const paper = dark ? "#1c1f23" : "#fffdf9";
    const clear = "rgba(0,0,0,0)";
    const axis = {
      gridcolor: grid, linecolor: line, zerolinecolor: line, tickcolor: line, ticks: "outside", ticklen: 4,
      automargin: true, title: { standoff: 8 }, zerolinewidth: 1, exponentformat: "power", minexponent: 4,
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

  const CONFIG = { displaylogo: false, showSendToCloud: false, responsive: false, displayModeBar: "hover",
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d", "toImage"] };
  const AT_ONCE = { mode: "immediate", frame: { duration: 0, redraw: true }, transition: { duration: 0 } };

  const themed = (figure, dark, name) => {
    const layout = { ...figure.layout, template: { layout: look(dark), data: traces }, uirevision: name };
    if (innerWidth < 600) {
      layout.margin = { ...layout.margin, l: Math.min(layout.margin?.l ?? 60, 46), r: 8 };
      layout.font = { ...layout.font, size: 11 };
      // The buttons of a scrubbed figure are as wide as ever; the slider starts to their right.
      layout.sliders = layout.sliders?.map((slider) => ({ ...slider, x: 0.26, len: 0.74 }));
    }
    return { data: figure.data, layout, frames: figure.frames ?? [] };
  };

  const drawPlot = async (holder, figure, name) => {
    const Plotly = await loadPlotly();
    const spec = themed(figure, isDark(), name);
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
      new ResizeObserver(() => { if (holder.offsetWidth) Plotly.Plots.resize(holder); }).observe(holder);
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

  const stage = (element, props, watch, server) => {
    const part = (name) => element.querySelector(`.stage-${name}`);
    const plots = () => [...part("panels").children].filter((panel) => panel.dataset.kind === "plot");
    let last = {};
    let panels = [];
    let drawing = Promise.resolve();

    const draw = async () => {
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
        if (panel.kind === "plot") await drawPlot(holder, panel.figure, `${last.id}#${i}`);
        else ({ table: drawTable, pictures: drawPictures, file: drawFile })[panel.kind](holder, panel);
      }
      part("tools").hidden = panels.length === 0;
      element.dataset.drawn = String(Number(element.dataset.drawn ?? 0) + 1);
    };

    const show = () => {
      if (!props.value) return;
      const said = JSON.parse(props.value);
      const isOther = said.id && said.id !== last.id;
      last = { ...last, ...said };
      part("error").hidden = !said.error;
      part("error").textContent = said.error ?? "";
      part("status").hidden = !said.status;
      part("status").lastElementChild.textContent = said.status ?? "";
      const bar = part("status").firstElementChild;
      bar.hidden = said.progress == null;
      if (said.progress != null) bar.value = said.progress;
      part("panels").classList.toggle("stale", Boolean(said.error) || (!said.panels && Boolean(said.status)));
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
        drawing = drawing.then(draw).catch((fault) => {
          part("error").hidden = false;
          part("error").textContent = `The figure could not be drawn: ${fault.message}.`;
        });
      }
    };

    const stop = () => {
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
          `font-family:sans-serif"><p><a href="${encodeURI(location.href)}">Scientific Spaces Studio: ${name()}</a></p>` +
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
    stages.add({ element, redraw: () => { drawing = drawing.then(draw); }, stop });
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
  const write = (query) => {
    const kept = [...new URLSearchParams(location.search)].filter(([name]) => name.startsWith("__"));
    const extra = new URLSearchParams(kept).toString();
    history.replaceState(null, "", location.pathname + (extra ? `${query || "?"}${query ? "&" : ""}${extra}` : query));
  };
  // What the visitor came with, once, to the exhibit it names.
  const link = (slug) => {
    if (!unread || new URLSearchParams(given).get("tab") !== slug) return "";
    unread = false;
    return given;
  };
  const home = () => { if (!unread || !new URLSearchParams(given).has("tab")) write(""); };

  // ---- controls and cards ----
  const slider = (element, props, watch, release, scale) => {
    const [number, range] = element.querySelectorAll("input");
    const steps = 400;
    const ratio = Math.log(scale.high / scale.low);
    const tidy = (value) => {
      const bounded = Math.min(Math.max(value, scale.low), scale.high);
      return scale.integer ? Math.round(bounded) : Number(bounded.toPrecision(10));
    };
    const fromRange = () => {
      if (!scale.log) return tidy(Number(range.value));
      const value = scale.low * Math.exp((ratio * range.value) / steps);
      return tidy(Number(value.toPrecision(3)));
    };
    const setRange = (value) => { range.value = scale.log ? (Math.log(value / scale.low) / ratio) * steps : value; };
    range.min = scale.log ? 0 : scale.low;
    range.max = scale.log ? steps : scale.high;
    range.step = scale.log ? 1 : scale.step;
    const show = () => { number.value = props.value; setRange(Number(props.value)); };
    range.addEventListener("input", () => { number.value = fromRange(); });
    range.addEventListener("change", () => { number.value = fromRange(); props.value = fromRange(); release(); });
    number.addEventListener("change", () => {
      const value = number.value.trim() === "" || Number.isNaN(Number(number.value)) ? props.value : tidy(Number(number.value));
      number.value = value;
      setRange(Number(value));
      if (value !== props.value) { props.value = value; release(); }
    });
    watch("value", show);
    show();
  };

  const cards = (element, open) =>
    element.addEventListener("click", (event) => {
      const card = event.target.closest("[data-tab]");
      if (!card || event.metaKey || event.ctrlKey) return;
      event.preventDefault();
      open(card.dataset.tab);
    });

  window.studio = { stage, stopped, slider, cards, link, home };
})();
