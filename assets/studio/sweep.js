// ---- the same figure at several values of one control, with shared axes ----
const makeSweep = (exhibit, hooks) => {
  const MOST = 9;
  const root = node("section", "sweep");
  root.ariaLabel = t("Sweep");
  root.hidden = true;
  const chosen = node("select");
  chosen.ariaLabel = t("Control");
  const typed = node("input");
  typed.type = "text";
  typed.ariaLabel = t("Values, up to {most}", { most: MOST });
  const close = button("×", () => { set(""); hooks.written(); }, "walk-close");
  close.ariaLabel = t("Close");
  const head = node("div", "sweep-head");
  // What takes long is computed one value after another, on a press; what has been computed is shown at once.
  const all = button("", () => (isRunning ? halt() : draw(true)), "primary");
  head.append(chosen, typed, all, close);
  const curves = node("div", "sweep-curves");
  const grid = node("div", "sweep-grid");
  root.append(head, curves, grid);
  let turn = 0;
  let isRunning = false;
  const name = (text) => { all.textContent = text; all.hidden = hooks.view().direct; };
  // isOver: another run takes its place
  const halt = (isOver) => { if (isRunning) { isRunning = false; hooks.halt(isOver); } };
  const tools = { mark: () => "", alt: () => "", set: () => {}, settle: () => {}, isDirect: () => true };

  const kindOf = (name) => exhibit.controls[name];
  const parameterOf = (name) => hooks.view().controls.find((one) => one.name === name)?.parameter;
  const offered = (view) => view.controls.map(({ name }) => name)
    .filter((name) => kindOf(name).kind === "Range" || kindOf(name).kind === "Toggle" || (kindOf(name).kind === "Choice" && !kindOf(name).several));
  const values = () => typed.value.split(/[,;，；]\s*/).map((text) => text.trim()).filter(Boolean).slice(0, MOST);
  // What a control is swept over unasked: five numbers from end to end, or its options.
  const spread = (name) => {
    const { kind, low, high, step, log, options } = kindOf(name);
    if (kind === "Toggle") return ["0", "1"];
    if (kind === "Choice") return options.map(([value]) => value).slice(0, MOST);
    const whole = exhibit.integers.has(name);
    return [...new Set([0, 1, 2, 3, 4].map((i) => {
      const value = log && low > 0 ? low * (high / low) ** (i / 4) : low + (high - low) * (i / 4);
      return whole ? Math.round(low + (step ?? 1) * Math.round((value - low) / (step ?? 1))) : Number(value.toPrecision(3));
    }))].map(String);
  };
  const valueOf = (name, text) => {
    if (kindOf(name).kind === "Toggle") return text === "1" || text === "true";
    return text;
  };
  const labelOf = (name, text, isWhole = true) => {
    const { kind, label, options } = kindOf(name);
    const said = kind === "Choice" ? options.find(([value]) => value === text)?.[1] ?? text : text;
    return isWhole ? `${label}: ${said}` : said;
  };
  // Equal axes, so that the figures can be compared.
  const share = () => {
    const plots = [...grid.querySelectorAll(".js-plotly-plot")];
    const change = {};
    for (const axis of ["xaxis", "yaxis"]) {
      const found = plots.map((plot) => plot._fullLayout?.[axis]);
      if (found.some((one) => !one?.range || one.type !== found[0].type || !["linear", "log"].includes(one.type))) continue;
      if (found.every((one) => one.range[0] > one.range[1])) continue; // it runs downwards, as of a matrix
      const [lows, highs] = [found.map((one) => one.range[0]), found.map((one) => one.range[1])];
      Object.assign(change, { [`${axis}.range[0]`]: Math.min(...lows), [`${axis}.range[1]`]: Math.max(...highs) });
    }
    if (Object.keys(change).length) for (const plot of plots) window.Plotly.relayout(plot, change);
  };
  // Where a result has numbers, each over the control.
  const drawCurves = async (name, asked, found, hues) => {
    const { kind, label, log } = kindOf(name);
    const isNumber = kind === "Range";
    const isWide = (values) => Math.min(...values) > 0 && Math.max(...values) > 50 * Math.min(...values);
    const axis = (values, isLog = false) => (isLog && Math.min(...values) > 0 || isWide(values) ? "log" : "linear");
    const x = asked.map((text) => (isNumber ? Number(text) : labelOf(name, text, false)));
    const panels = [...new Set(found.flatMap((one) => Object.keys(one)))].map((said) => {
      const names = [...new Set(found.flatMap((one) => Object.keys(one[said] ?? {})))];
      const lines = names.map((one) => found.map((row) => row[said]?.[one] ?? null));
      return { kind: "plot", figure: {
        data: lines.map((y, i) => ({ type: "scatter", mode: isNumber ? "lines+markers" : "markers", x, y, name: names[i] || said, marker: { size: 8, color: hues[names[i]] ?? COLORS[i % COLORS.length] }, showlegend: names.length > 1 })),
        layout: { height: 240 + 20 * (names.length > 1 ? Math.ceil(names.length / 2) : 0), showlegend: names.length > 1, title: { text: said },
          legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom" }, margin: { l: 70, r: 20, t: 20, b: 50 },
          xaxis: { title: { text: label }, type: isNumber ? axis(x, log) : "category" }, yaxis: { type: axis(lines.flat().filter((y) => y !== null)) } },
      } };
    });
    curves.hidden = !panels.length || found.filter((one) => Object.keys(one).length).length < 2; // (a value may be refused)
    if (!curves.hidden) await drawPanels(curves, panels, `curves/${name}`, tools, true);
  };
  const draw = async (isAsked = false) => {
    if (root.hidden) return;
    const mine = turn += 1;
    halt();
    isRunning = isAsked;
    const swept = chosen.value;
    const asked = values();
    while (grid.children.length > asked.length) grid.lastChild.remove();
    grid.style.setProperty("--cells", Math.min(asked.length, 3));
    const found = [];
    const hues = {}; // a name has the colour that it has in the figure
    for (const [i, text] of asked.entries()) {
      let cell = grid.children[i];
      if (!cell) {
        cell = node("figure", "sweep-cell");
        cell.append(node("figcaption"), node("div"));
        grid.append(cell);
      }
      const changes = { [swept]: valueOf(swept, text) };
      let said;
      try { said = JSON.parse(await hooks.ask(changes)); }
      catch { said = { error: t("The studio does not answer: is it still running?") }; }
      if (mine !== turn) return;
      let drawing = null;
      const show = async (now) => {
        cell.firstChild.textContent = [labelOf(swept, text), now.waits ? t("not computed yet") : now.busy && now.status].filter(Boolean).join(" · ");
        const panels = (now.panels ?? []).slice(0, 1);
        // (the large figure has the legend)
        if (panels[0]?.kind === "plot") {
          Object.assign(panels[0].figure.layout, { height: 280, showlegend: false });
          for (const trace of panels[0].figure.data) trace.showlegend = false; // a phone's legend goes by these
        }
        if (now.error) cell.lastChild.replaceChildren(node("p", "stage-error", now.error));
        else if (panels.length || now.waits) {
          for (const holder of cell.lastChild.children) holder.zoom = {}; // axes of its own again, until all are there
          await drawPanels(cell.lastChild, panels, `${now.exhibit}/${now.view}/${swept}`, tools, true);
        }
      };
      if (said.waits && isRunning) {
        name(t("Cancel: {step} of {total}", { step: i + 1, total: asked.length }));
        said = await hooks.compute(changes, (now) => { if (now.busy) drawing ??= show(now).finally(() => { drawing = null; }); });
        if (mine !== turn) return;
        await drawing;
      }
      await show(said);
      if (mine !== turn) return;
      found.push(said.scalars ?? {});
      for (const { name: trace, line, marker } of said.panels?.[0]?.figure?.data ?? []) {
        const hue = line?.color ?? marker?.color;
        if (trace && typeof hue === "string") hues[trace] ??= hue;
      }
    }
    isRunning = false;
    name(t("Run all (about {seconds} s)", { seconds: Math.max(1, Math.round(hooks.view().seconds * asked.length)) }));
    share();
    await drawCurves(swept, asked, found, hues);
  };
  // "parameter:value,value" as in the address; "" closes. (A control's name on the page may change with its exhibit.)
  const set = (said, view = hooks.view()) => {
    turn += 1;
    halt();
    const [asked, list = ""] = said.split(/:(.*)/s);
    const chose = (view.controls.find(({ parameter }) => parameter === asked) ?? view.controls.find(({ name }) => name === asked))?.name;
    const names = offered(view);
    root.hidden = !names.includes(chose);
    if (root.hidden) { grid.replaceChildren(); curves.replaceChildren(); return; }
    chosen.replaceChildren(...names.map((one) => {
      const option = node("option", "", kindOf(one).label);
      option.value = one;
      return option;
    }));
    chosen.value = chose;
    typed.value = (list ? list.split(",") : spread(chose)).slice(0, MOST).join(", ");
    draw();
  };
  chosen.addEventListener("change", () => { set(parameterOf(chosen.value)); hooks.written(); });
  typed.addEventListener("change", () => { draw(); hooks.written(); }); // (nothing that takes long runs unasked)
  return {
    root, draw: () => draw(), set, offered, halt, isRunning: () => isRunning,
    said: () => (root.hidden ? "" : `${parameterOf(chosen.value)}:${values().join(",")}`),
    open: () => {
      const [name] = offered(hooks.view());
      set(name ? parameterOf(name) : "");
      if (!root.hidden) root.scrollIntoView({ block: "nearest" });
      hooks.written();
    },
  };
};
