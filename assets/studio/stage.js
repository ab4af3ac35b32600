// ---- the stage of an exhibit: what the server said of the present view, and what can be done with it ----
const makeStage = (exhibit, hooks) => {
  const root = node("div", "stage");
  const error = node("p", "stage-error");
  error.role = "alert";
  error.hidden = true;
  const notice = node("p", "stage-notice");
  notice.role = "status";
  notice.hidden = true;
  const hero = node("div", "stage-hero");
  const caption = node("div", "caption");
  const rest = node("div", "stage-panels");
  const tools = node("div", "stage-tools");
  tools.hidden = true;
  const seconds = node("span", "stage-seconds");
  const code = node("details", "stage-code");
  code.append(node("summary", "", t("In Python")), node("pre"));
  code.lastChild.append(node("code"));
  code.lastChild.tabIndex = 0;
  code.hidden = true;
  root.append(error, notice, hero, caption, rest, tools, code);

  let last = {};
  let panels = [];
  let drawing = Promise.resolve();
  let cancelled = null;
  let mark = { mark: "", said: "" }; // a trace by its English name, or a heading in the visitor's language
  let pace = 0;

  // The next frame is on the screen; a page that is not seen has none.
  const afterPaint = () => new Promise((resolve) => {
    setTimeout(resolve, 50);
    requestAnimationFrame(() => setTimeout(resolve));
  });
  const shared = { mark: () => mark, alt: () => hooks.alt(), set: hooks.set, settle: hooks.settle, isDirect: hooks.isDirect };
  const drawAll = async (isAnew = false) => {
    const begun = performance.now();
    const ofView = () => `${last.exhibit}/${last.view}`;
    const [id, all] = [ofView(), panels];
    rest.classList.toggle("several", all.length > 2); // first, for figures take the width that they find
    const held = hero.firstChild?.content;
    await drawPanels(hero, all.slice(0, 1), id, { ...shared, hero: true }, isAnew);
    const isSeen = hero.firstChild?.content !== held;
    const seen = () => { hero.dataset.shown = String(Number(hero.dataset.shown ?? 0) + 1); };
    if (isSeen) seen();
    if (isSeen && all.length > 1) await afterPaint();
    if (id !== ofView()) return;
    await drawPanels(rest, all.slice(1), `${id}/more`, shared, isAnew);
    tools.hidden = all.length === 0;
    const figures = [...inside(all)].some((panel) => panel.kind === "plot");
    const pictures = [...inside(all)].some((panel) => panel.kind === "pictures");
    for (const [kind, isOffered] of [["svg", figures], ["png", figures || pictures], ["html", figures || pictures]]) {
      tools.querySelector(`[data-do=${kind}]`).hidden = !isOffered;
    }
    colourWords(hooks.words(), hero, rest);
    pace = performance.now() - begun;
    if (!isSeen) seen();
    hero.dataset.drawn = String(Number(hero.dataset.drawn ?? 0) + 1);
  };
  function* inside(list) {
    for (const panel of list) { if (panel.kind === "folded") yield* inside(panel.panels); else yield panel; }
  }
  const redraw = (isAnew) => {
    drawing = drawing.then(() => drawAll(isAnew)).catch((fault) => {
      error.hidden = false;
      error.textContent = t("The figure could not be drawn: {reason}.", { reason: fault.message });
    });
    return drawing;
  };

  // Words of captions and stories that name a trace wear its colour.
  const colourWords = (places, ...roots) => {
    const colors = {};
    for (const plot of roots.flatMap((part) => [...part.querySelectorAll(".js-plotly-plot")])) {
      for (const trace of plot.data ?? []) {
        const color = [trace.line?.color, trace.marker?.color].find((one) => isHex(one));
        if (trace.meta?.key && color) colors[trace.meta.key] ??= color;
      }
    }
    for (const word of [caption, ...places].flatMap((place) => [...place.querySelectorAll(".mark")])) {
      const color = colors[word.dataset.mark];
      word.style.color = color ? legible(color, isDark()) : "";
      word.style.setProperty("--mark", color ?? "currentColor");
    }
  };

  const show = (said) => {
    if (said.run && said.run === cancelled) return; // on its way when it was cancelled
    const isOther = said.view && said.view !== last.view;
    last = { ...last, ...said };
    root.dataset.said = String(Number(root.dataset.said ?? 0) + 1);
    error.hidden = !said.error;
    put(error, said.error ?? "");
    hooks.status(said);
    const isOnlyCount = said.progress != null && !said.panels; // the partial figure it comes after still holds
    if (!isOnlyCount) root.classList.toggle("stale", Boolean(said.error || (said.status && !said.panels)));
    if (said.address !== undefined) hooks.address(said.address);
    const tell = () => {
      if (said.code !== undefined) {
        code.hidden = false;
        put(code.querySelector("code"), said.code);
      }
      if (said.prepared) put(seconds, "");
      if (said.seconds != null) put(seconds, said.seconds < 0.001 ? "" : t("computed in {seconds} s", { seconds: said.seconds.toPrecision(2) }));
    };
    if (!said.panels && !isOther) { tell(); return; }
    panels = said.panels ?? [];
    // Of a stream only the latest is drawn, and not without a rest: Cancel must be heard.
    if (said.busy) drawing = drawing.then(() => new Promise((resolve) => { setTimeout(resolve, pace); }));
    redraw().then(tell); // not before: the figure would wait until the page is laid out with them
  };

  const name = () => `${last.exhibit}-${last.view}`;
  const plots = () => [...root.querySelectorAll(".js-plotly-plot")].filter((plot) => plot.offsetParent);
  // Everything in light colours and with room, as a file is read elsewhere.
  const paperFigure = (plot) => {
    const holder = plot.parentElement;
    const theme = THEMES.light;
    return { data: painted(plot.data, theme), width: Math.max(plot.offsetWidth, 640), height: plot.offsetHeight,
      layout: { ...plot.layout, title: holder.figure.layout.title, showlegend: holder.figure.layout.showlegend, template: { layout: { ...template(theme, true), paper_bgcolor: theme.paper, plot_bgcolor: theme.paper }, data: TRACES },
        margin: { ...holder.figure.layout.margin } } };
  };
  const asImages = async (format) => {
    const made = [];
    for (const plot of plots()) {
      const { data, layout, width, height } = paperFigure(plot);
      made.push({ url: await window.Plotly.toImage({ data, layout }, { format, width, height, scale: format === "png" ? 2 : 1 }), width, height });
    }
    return made;
  };
  const loaded = (url) => new Promise((resolve, reject) => {
    const image = new Image();
    image.onload = () => resolve(image);
    image.onerror = () => reject(new Error("picture"));
    image.src = url;
  });
  // Figures and pictures of the view below each other, with their captions, on paper.
  const asPicture = async () => {
    const scale = 2;
    const blocks = [];
    for (const { url, width, height } of await asImages("png")) blocks.push({ width, height, parts: [[await loaded(url), 0, 0, width, height, ""]] });
    for (const gallery of root.querySelectorAll(".gallery")) {
      if (!gallery.offsetParent) continue;
      const box = gallery.getBoundingClientRect();
      const parts = [...gallery.querySelectorAll("img")].map((image) => {
        const at = image.getBoundingClientRect();
        return [image, at.left - box.left, at.top - box.top, at.width, at.height, ""];
      });
      const words = [...gallery.querySelectorAll("figcaption, .row-head, .column-head")].map((word) => {
        const at = word.getBoundingClientRect();
        return [null, at.left - box.left, at.top - box.top, at.width, at.height, word.textContent];
      });
      blocks.push({ width: gallery.scrollWidth, height: gallery.scrollHeight, parts: [...parts, ...words] });
    }
    const canvas = node("canvas");
    canvas.width = scale * (Math.max(...blocks.map((block) => block.width)) + 32);
    canvas.height = scale * blocks.reduce((sum, block) => sum + block.height + 16, 16);
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    pen.fillStyle = THEMES.light.paper;
    pen.fillRect(0, 0, canvas.width, canvas.height);
    pen.imageSmoothingEnabled = false;
    let top = 16;
    for (const block of blocks) {
      for (const [image, x, y, w, h, text] of block.parts) {
        if (image) { pen.drawImage(image, 16 + x, top + y, w, h); continue; }
        pen.fillStyle = THEMES.light.ink;
        pen.font = "12px sans-serif";
        pen.fillText(text, 16 + x, top + y + 12, Math.max(w, 40));
      }
      top += block.height + 16;
    }
    return new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); });
  };
  const asPage = async () => {
    const bundle = plots().length ? await (await fetch(window.studioFiles.plotly)).text() : "";
    const figures = plots().map(paperFigure);
    const galleries = [...root.querySelectorAll(".gallery")].filter((one) => one.offsetParent).map((one) => one.outerHTML);
    const text = (one) => one.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
    const style = "body{font:15px/1.5 system-ui,sans-serif;max-width:1000px;margin:2rem auto;padding:0 1rem;color:#33302a;background:#fffdf9}"
      + ".gallery{display:flex;flex-wrap:wrap;gap:12px}.gallery.grid{display:grid;grid-template-columns:repeat(var(--columns),auto)}.gallery.grid.with-rows{grid-template-columns:auto repeat(var(--columns),auto)}"
      + ".gallery img{width:var(--picture);image-rendering:pixelated}figure{margin:0}figcaption{font-size:13px}";
    const plain = (key, value) => (ArrayBuffer.isView(value) ? Array.from(value, (one) => (Number.isFinite(one) ? one : null)) : value);
    const script = figures.length ? `<script>${bundle.replaceAll("</script", "<\\/script")}</script><script>${
      figures.map(({ data, layout }, i) => `Plotly.newPlot("f${i}",${JSON.stringify(data, plain)},${JSON.stringify(layout, plain)},{responsive:true})`).join(";").replaceAll("</", "<\\/")}</script>` : "";
    return `<!doctype html><meta charset="utf-8"><title>${text(document.title)}</title><style>${style}</style><h1>${text(document.title)}</h1>${
      figures.map(({ height }, i) => `<div id="f${i}" style="height:${height}px"></div>`).join("")}${galleries.join("")}<div>${caption.innerHTML}</div><p><a href="${text(hooks.shareable())}">${text(hooks.shareable())}</a></p>${script}`;
  };
  const copy = async (pressed, text, title) => {
    const said = pressed.textContent;
    try { await navigator.clipboard.writeText(text); pressed.textContent = t("Copied"); }
    catch { prompt(title, text); }
    setTimeout(() => { pressed.textContent = said; }, 1500);
  };
  const actions = {
    link: (pressed) => copy(pressed, hooks.shareable(), t("The address of this figure")),
    embed: (pressed) => {
      const frame = node("iframe");
      Object.assign(frame, { src: hooks.embeddable(), title: document.title, width: "100%", height: "720", loading: "lazy" });
      frame.style.border = "0";
      return copy(pressed, frame.outerHTML, t("The figure as a frame of another page"));
    },
    npz: async () => {
      const data = last.prepared ? null : await hooks.npz(last.key);
      if (!data) {
        error.hidden = false;
        error.textContent = last.prepared ? t("This figure was prepared beforehand: press Run, then download its data.")
          : t("The data are no longer held here: draw the figure again, then download.");
        return;
      }
      save(Uint8Array.from(atob(data), (c) => c.charCodeAt(0)), `${name()}.npz`, "application/octet-stream");
    },
    ipynb: async () => {
      const made = JSON.parse(await hooks.notebook());
      if (made.error) { error.hidden = false; error.textContent = made.error; return; }
      save(JSON.stringify(made, null, 1), `${name()}.ipynb`, "application/x-ipynb+json");
    },
    html: async () => save(await asPage(), `${name()}.html`, "text/html"),
    svg: async () => { for (const [i, { url }] of (await asImages("svg")).entries()) save(await (await fetch(url)).blob(), `${name()}${i ? `-${i + 1}` : ""}.svg`); },
    png: async () => save(await asPicture(), `${name()}.png`),
  };
  tools.append(seconds);
  for (const [kind, text, title] of [["link", "Copy link", "Copy the address that reproduces this"], ["embed", "Embed", "Copy an <iframe> that shows this in another page"],
    ["npz", ".npz", "The arrays, for numpy"], ["ipynb", ".ipynb", "A notebook that computes and draws this"],
    ["html", ".html", "The figure as a page that works offline"], ["svg", ".svg", "The figure as a drawing"], ["png", ".png", "The figure as a picture"]]) {
    const made = button(t(text), async () => {
      made.disabled = true;
      try { await actions[kind](made); }
      catch (fault) { error.hidden = false; error.textContent = t("This could not be saved: {reason}.", { reason: fault.message }); }
      finally { made.disabled = false; }
    });
    made.dataset.do = kind;
    made.title = t(title);
    tools.append(made);
  }

  return {
    root, show, redraw,
    dress: (view) => { caption.innerHTML = view.caption; },
    say: (text) => { notice.hidden = !text; notice.textContent = text; },
    cancel: () => { cancelled = last.run; root.classList.remove("stale"); },
    highlight: (name, said) => { if (name !== mark.mark) { mark = { mark: name, said }; if (panels.length) redraw(); } },
    isBusy: () => Boolean(last.busy),
    get last() { return last; },
  };
};
