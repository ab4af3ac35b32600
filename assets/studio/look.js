// ---- nodes, texts, and the look of figures in light and dark ----
const node = (tag, className, text) => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};
const button = (text, action, className = "") => {
  const made = node("button", className, text);
  made.type = "button";
  made.addEventListener("click", action);
  return made;
};
// A text that stays is left alone: the page would be laid out anew for it.
const put = (place, text) => { if (place.textContent !== text) place.textContent = text; };
// The chosen name of a row stands in its middle, as far as there are names beside it.
const centre = (row) => {
  const chosen = row.querySelector('[aria-selected="true"], [aria-current]');
  if (chosen) row.scrollLeft = chosen.offsetLeft - row.offsetLeft - (row.clientWidth - chosen.offsetWidth) / 2;
};
// A row of names that is longer than its room fades at the ends beyond which there are more. A mouse turns its wheel there or
// presses the buttons (the keyboard goes from name to name, so they are no stops of its).
const fadeEnds = (row) => {
  const around = node("div", "row");
  const ends = [["‹", -1], ["›", 1]].map(([sign, way]) => {
    const end = button(sign, () => row.scrollBy({ left: way * 0.7 * row.clientWidth, behavior: "smooth" }), "row-end");
    end.tabIndex = -1;
    end.ariaHidden = "true";
    return end;
  });
  const mark = () => {
    const isMore = [row.scrollLeft > 4, row.scrollLeft + row.clientWidth < row.scrollWidth - 4];
    ["more-before", "more-after"].forEach((name, i) => { row.classList.toggle(name, isMore[i]); ends[i].hidden = !isMore[i]; });
  };
  row.addEventListener("scroll", mark, { passive: true });
  row.addEventListener("wheel", (event) => {
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) return;
    const before = row.scrollLeft;
    row.scrollLeft += event.deltaY;
    if (row.scrollLeft !== before) event.preventDefault();
  }, { passive: false });
  new ResizeObserver(() => { centre(row); mark(); }).observe(row);
  around.append(ends[0], row, ends[1]);
  return around;
};

// All that the exhibits declare, in the visitor's language; `t` is a text of the page itself, with {fields}.
let declared = null;
const t = (text, fields = {}) =>
  (declared?.ui[text] ?? text).replace(/\{(\w+)\}/g, (whole, name) => fields[name] ?? whole);

let plotly = null;
const loadPlotly = () =>
  (plotly ??= new Promise((resolve, reject) => {
    const script = node("script");
    script.src = window.studioFiles.plotly;
    script.onload = () => {
      // With a <base>, plotly would name its clip paths by the address of the moment, which changes with every setting.
      // gradio's is "./": relative addresses mean the same without it.
      document.querySelector("base")?.removeAttribute("href");
      resolve(window.Plotly);
    };
    script.onerror = () => { plotly = null; reject(new Error(t("plotly did not load"))); };
    document.head.append(script);
  }));

const THEMES = {
  light: { ink: "#33302a", grid: "#e7e2d7", line: "#b9b2a3", paper: "#fffdf9", tool: "#6d685d",
    sequential: ["#fffdf9", "#dcebe6", "#8fc4bd", "#3a928c", "#0b5a63", "#0a2f3d"],
    diverging: ["#b35806", "#e08a3c", "#f4cfa4", "#fffdf9", "#a9cfe5", "#4a90c2", "#1c5a9c"] },
  dark: { ink: "#d8d4ca", grid: "#2d3137", line: "#4a4f57", paper: "#1c1f23", tool: "#a19c90",
    sequential: ["#1c1f23", "#14383d", "#14605f", "#2f8f86", "#86c9b6", "#eef8ee"],
    diverging: ["#f2a65a", "#b86a22", "#5e3c1e", "#1c1f23", "#1d3f5e", "#3579b5", "#8cc0ee"] },
};
const isDark = () => document.body.classList.contains("dark");
const scaleOf = (stops) => stops.map((color, i) => [i / (stops.length - 1), color]);

// Names of colours in a figure become those of the theme; arrays are left alone.
const painted = (value, theme) => {
  if (typeof value === "string") {
    if (value === "ink") return theme.ink;
    if (value === "sequential") return scaleOf(theme.sequential);
    if (value === "diverging") return scaleOf(theme.diverging);
    return value;
  }
  if (Array.isArray(value)) return typeof value[0] === "object" || typeof value[0] === "string" ? value.map((item) => painted(item, theme)) : value;
  if (value && typeof value === "object" && !("bdata" in value)) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) =>
      [key, key === "text" || key === "ticktext" || key === "x" || key === "y" || key === "labels" ? item : painted(item, theme)]));
  }
  return value;
};

// The house colours, as in studio/figure.py.
const COLORS = ["#0077bb", "#d9631e", "#009988", "#cc3311", "#8866cc", "#2b93c0", "#a07d00", "#d6438a"];
// Where the margins are kept, plotly need not measure each label to hide those that stick out.
const template = (theme, automargin) => {
  const { ink, grid, line, paper } = theme;
  const clear = "rgba(0,0,0,0)";
  const axis = {
    gridcolor: grid, linecolor: line, zerolinecolor: line, tickcolor: line, ticks: "outside", ticklen: 4,
    automargin, ...(automargin ? {} : { ticklabeloverflow: "allow" }), title: { standoff: 8 }, zerolinewidth: 1, exponentformat: "power", minexponent: 4,
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
    modebar: { bgcolor: clear, color: theme.tool, activecolor: ink },
  };
};
const TRACES = Object.fromEntries(
  ["heatmap", "contour", "surface"].map((kind) => [kind, [{ colorbar: { outlinewidth: 0, thickness: 12 } }]]),
);
const CONFIG = { displaylogo: false, showSendToCloud: false, responsive: false,
  displayModeBar: matchMedia("(hover: none)").matches ? false : "hover",
  modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d", "toImage"] };

// Letters need more contrast than lines: their colour is mixed with ink.
const legible = (color, dark) => {
  const channels = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  const ink = channels(THEMES[dark ? "dark" : "light"].ink);
  return `rgb(${channels(color).map((own, i) => Math.round(0.6 * own + 0.4 * ink[i])).join()})`;
};
const isHex = (color) => /^#[0-9a-f]{6}$/i.test(color ?? "");
const lettered = (note, dark) =>
  (isHex(note.font?.color) ? { ...note, font: { ...note.font, color: legible(note.font.color, dark) } } : note);

const save = (content, name, type) => {
  const link = node("a");
  link.href = content instanceof Blob ? URL.createObjectURL(content) : typeof content === "string" && content.startsWith("data:")
    ? content : URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  if (link.href.startsWith("blob:")) setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
};
