// Views for those who want more: a menu at the row's end.
const makeAppendix = (views, id, choose) => {
  const root = node("div", "appendix");
  root.hidden = !views.length;
  const list = node("div", "appendix-list");
  list.role = "menu";
  list.hidden = true;
  const show = (isOpen) => {
    list.hidden = !isOpen;
    head.ariaExpanded = String(isOpen);
    if (isOpen) (items.find((item) => item.ariaChecked === "true") ?? items[0]).focus();
  };
  const head = button("", () => show(list.hidden));
  Object.assign(head, { id, ariaHasPopup: "menu", ariaExpanded: "false" });
  const items = views.map((one) => {
    const item = button(one.title, () => { show(false); head.focus(); choose(one.slug); });
    Object.assign(item, { role: "menuitemradio", tabIndex: -1 });
    item.dataset.view = one.slug;
    return item;
  });
  root.addEventListener("keydown", (event) => {
    const at = items.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
    if (event.key === "Escape" && !list.hidden) { show(false); head.focus(); }
    if (to === undefined) return;
    event.preventDefault();
    if (list.hidden) show(true); else items.at(to % items.length).focus();
  });
  root.addEventListener("focusout", (event) => { if (!root.contains(event.relatedTarget)) show(false); });
  list.append(...items);
  root.append(head, list);
  return {
    root,
    dress: (view) => {
      items.forEach((item) => { item.ariaChecked = String(item.dataset.view === view.slug); });
      head.classList.toggle("chosen", view.appendix);
      head.textContent = `${view.appendix ? view.title : t("More views")} ▾`;
      list.ariaLabel = t("More views");
    },
  };
};

// ---- an exhibit: views, controls, stories, the stage ----
const makeExhibit = (exhibit, host) => {
  exhibit.integers = new Set(exhibit.whole);
  const root = node("section", "exhibit");
  root.dataset.exhibit = exhibit.slug;
  let view = exhibit.views[0];
  let pinned = null;
  let story = null; // [number, step]
  let inFlight = null;
  let wanted = false;
  let opening = false;
  let took = [0, 0]; // ms of the last two answers: the first of a server that has just started says little
  let lastAsked = "";

  const ask = () => [exhibit.slug, view.slug, controls.values, pinned, declared.language];
  // One question at a time; while it is answered only the latest setting waits.
  // isOpening: a figure that was prepared may be shown until the view itself has drawn
  const request = (isOpening = false) => {
    wanted = true;
    opening = isOpening || !view.direct;
    inFlight ??= (async () => {
      try {
        while (wanted) {
          wanted = false;
          const asked = [...ask(), ...(opening ? [true] : [])];
          const begun = performance.now();
          lastAsked = JSON.stringify(ask());
          const said = JSON.parse(await host.server.draw(asked));
          took = [took[1], performance.now() - begun];
          if (asked[1] === view.slug) take(said);
        }
      } catch {
        lastAsked = "";
        stage.show({ exhibit: exhibit.slug, view: view.slug, error: t("The studio does not answer: is it still running?"), panels: null });
      } finally { inFlight = null; }
    })();
    return inFlight;
  };
  const take = (said) => {
    if (said.view && said.view !== view.slug) return;
    stage.show(said);
    if (said.prepared && view.direct) request();
    if (said.waits && isFresh && view.auto) run();
    isFresh = false;
  };
  let relay = null; // what is said of a run of the sweep goes there
  const hear = (said) => (relay ? relay(said) : take(said));
  let isFresh = false; // just opened: what takes a moment is computed unasked
  const changed = (isMoving) => {
    const isAsked = view.direct && lastAsked === JSON.stringify(ask()); // as when a slider is let go where it was drawn last
    if (!isAsked && (view.direct ? !isMoving || Math.min(...took) < 300 : !isMoving)) request();
    if (!isMoving) sweep.draw();
  };
  const controls = makeControls(exhibit, host.upload, changed, () => inFlight ?? Promise.resolve());
  if (exhibit.hasArt) host.server.fetch_art(exhibit.slug).then((art) => controls.dress(JSON.parse(art)));

  // -- head: title and views --
  const head = node("div", "exhibit-head");
  const title = node("h1", "", exhibit.title);
  const strip = node("div", "views");
  strip.role = "tablist";
  strip.ariaLabel = t("Views of {exhibit}", { exhibit: exhibit.title });
  const tabs = exhibit.views.filter((one) => !one.appendix).map((one) => {
    const tab = button(one.title, () => { if (one !== view) open(one.slug); });
    tab.role = "tab";
    tab.id = `${exhibit.slug}/${one.slug}`;
    tab.setAttribute("aria-controls", `${exhibit.slug}/stage`);
    tab.dataset.view = one.slug;
    strip.append(tab);
    return tab;
  });
  strip.addEventListener("keydown", (event) => {
    const at = tabs.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: -1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = tabs.at(to % tabs.length);
    next.focus();
    next.click();
  });
  const appendix = makeAppendix(exhibit.views.filter((one) => one.appendix), `${exhibit.slug}/more`, (slug) => { if (slug !== view.slug) open(slug); });
  head.append(title, fadeEnds(strip), appendix.root);

  // -- side: what is done, and what it is done with --
  const side = node("aside", "side");
  side.ariaLabel = t("Controls");
  const actions = node("div", "actions");
  const go = button(t("Run"), () => run(), "primary");
  const stop = button(t("Cancel"), () => {
    host.stop();
    stage.cancel();
    bar.hidden = true;
    said.textContent += ` · ${t("cancelled, this is what there is")}`;
    stop.disabled = true;
  });
  const pin = button(t("Pin"), () => {
    pinned = pinned ? null : structuredClone(controls.values);
    request();
  });
  pin.title = t("Keep this result behind the next ones");
  const reset = button(t("Reset"), () => { leaveStory(); controls.set(view.defaults); request(); sweep.draw(); });
  reset.title = t("Back to the defaults");
  const sweep = makeSweep(exhibit, {
    view: () => view,
    ask: (changes) => host.server.draw([exhibit.slug, view.slug, { ...controls.values, ...changes }, null, declared.language]),
    compute: (changes, watch) => new Promise((resolve) => {
      relay = (said) => { watch(said); if (!said.busy) { relay = null; resolve(said); } };
      host.run(exhibit.slug, [exhibit.slug, view.slug, { ...controls.values, ...changes }, null, declared.language]);
    }),
    halt: (isOver) => { if (!isOver) host.stop(); relay?.({ busy: false }); },
    written: () => host.write(stage.last.address, place()),
  });
  const many = button(t("Sweep"), () => (sweep.root.hidden ? sweep.open() : (sweep.set(""), host.write(stage.last.address, place()))));
  many.title = t("The figure at several values of one control");
  actions.append(go, stop, pin, many, reset);
  const status = node("div", "stage-status");
  status.role = "status";
  const bar = node("progress");
  bar.ariaLabel = t("Progress");
  const said = node("span");
  status.append(bar, said);
  status.hidden = true;
  const pinnedNote = node("p", "pinned-note");
  pinnedNote.hidden = true;
  const walk = node("div", "walk");
  walk.hidden = true;
  const stories = node("details", "stories");
  if (exhibit.stories.length) {
    stories.append(node("summary", "", t("Stories")));
    const list = node("ol");
    exhibit.stories.forEach((one, i) => {
      const item = node("li");
      item.append(button(one.title, () => tell(i, 0)));
      list.append(item);
    });
    stories.append(list);
  }
  side.append(actions, status, pinnedNote, walk, controls.list, controls.more, ...(exhibit.stories.length ? [stories] : []));

  const parameter = (name) => view.controls.find((control) => control.parameter === name)?.name;
  const stage = makeStage(exhibit, {
    alt: () => view.alt,
    words: () => [walk],
    status: ({ status: text, busy, progress }) => {
      if (text === undefined) return;
      status.hidden = !text || (stage.last.prepared && view.direct); // which is about to draw itself
      put(said, text ?? "");
      bar.hidden = !busy;
      stop.disabled = !busy;
      if (progress == null) bar.removeAttribute("value"); else bar.value = progress;
      const notes = stage.last.pinned;
      put(pin, notes ? t("Unpin") : t("Pin"));
      pinnedNote.hidden = !notes;
      if (notes) put(pinnedNote, t("Pinned: {title}", { title: notes.map(([label, value]) => `${label} ${value}`).join(t(", ")) || t("the defaults") }));
    },
    address: (query) => {
      if (!root.hidden) host.write(query, place());
      whole.href = host.shareable(query, place());
    },
    shareable: () => host.shareable(stage.last.address, place()),
    embeddable: () => host.embeddable(stage.last.address, place()),
    notebook: () => host.server.fetch_notebook([...ask(), host.shareable(stage.last.address, place())]),
    npz: async (key) => JSON.parse(await host.server.fetch_npz(key)).data,
    set: (to, item) => {
      for (const [name, value] of Object.entries(to)) {
        const control = parameter(name);
        if (!control) continue;
        const { low, high } = exhibit.controls[control];
        const bounded = Math.min(Math.max(value, low ?? -Infinity), high ?? Infinity);
        const tidy = exhibit.integers.has(control) ? Math.round(bounded) : Number(bounded.toPrecision(3));
        // what was typed as text has been read by the server
        const list = Array.isArray(controls.values[control]) ? controls.values[control] : stage.last.values[control];
        const next = item === null ? tidy : list.map((old, i) => (i === item ? tidy : old));
        controls.set({ [control]: next });
      }
      changed(true);
    },
    settle: () => changed(false),
    isDirect: () => view.direct,
  });
  const bench = node("div", "bench");
  bench.role = "tabpanel";
  bench.id = `${exhibit.slug}/stage`;
  const main = node("div", "stage-holder");
  main.append(stage.root);
  stage.root.querySelector(".stage-panels").before(sweep.root);
  bench.append(side, main);

  // -- foot: what it is about, what it is checked against, where it comes from --
  const foot = node("footer", "exhibit-foot");
  const summary = node("p");
  summary.innerHTML = exhibit.summary;
  foot.append(summary);
  if (exhibit.checks) {
    const checks = node("details", "checks");
    const table = node("div", "scroller");
    table.tabIndex = 0;
    table.role = "region";
    table.ariaLabel = t("Known results");
    const measure = async () => {
      again.disabled = true;
      table.ariaBusy = "true";
      try { table.innerHTML = await host.server.run_checks([exhibit.slug, declared.language]); }
      catch { table.textContent = t("The studio does not answer: is it still running?"); }
      again.disabled = false;
      table.ariaBusy = "false";
    };
    const again = button(t("Measure again"), measure);
    table.textContent = t("Measuring…");
    checks.append(node("summary", "", t("Checked against {count} known results", { count: exhibit.checks })), table, again);
    checks.addEventListener("toggle", () => { if (checks.open && !table.querySelector("table")) measure(); });
    foot.append(checks);
  }
  const sources = node("details", "sources");
  sources.open = true;
  sources.append(node("summary", "", t("Sources")));
  const list = node("ul");
  for (const [name, address] of exhibit.sources) {
    const item = node("li");
    const link = node(address ? "a" : "span", "", name);
    if (address) link.href = address;
    item.append(link);
    list.append(item);
  }
  sources.append(list);
  foot.append(sources);
  // in a frame of another page: where it comes from
  const from = node("p", "embed-from");
  const whole = node("a");
  whole.target = "_blank";
  from.append(whole);
  root.append(head, bench, foot, from);

  const place = () => ({
    ...(story ? { story: `${story[0] + 1}.${story[1] + 1}` } : {}),
    ...(sweep.said() ? { sweep: sweep.said() } : {}),
  });
  const dress = () => {
    tabs.forEach((tab) => {
      const isChosen = tab.dataset.view === view.slug;
      tab.ariaSelected = String(isChosen);
      tab.tabIndex = isChosen || (view.appendix && tab === tabs[0]) ? 0 : -1;
    });
    appendix.dress(view);
    centre(strip);
    bench.setAttribute("aria-labelledby", `${exhibit.slug}/${view.appendix ? "more" : view.slug}`);
    many.hidden = !sweep.offered(view).length;
    go.hidden = stop.hidden = !view.pressed;
    stop.disabled = true;
    controls.open(view);
    stage.dress(view);
    document.title = whole.textContent = `${view.title} · ${exhibit.title} · ${t("Scientific Spaces Studio")}`;
  };
  // Another view, with the settings that are held.
  const open = (slug) => {
    leaveStory();
    sweep.set("");
    pinned = null;
    view = exhibit.views.find((one) => one.slug === slug);
    isFresh = true;
    stage.say("");
    dress();
    request(true);
  };
  const leaveStory = () => {
    offered.remove();
    story = null;
    walk.hidden = true;
    controls.point("");
    stage.highlight("");
  };
  const dressStory = () => {
    const [number, step] = story;
    const told = exhibit.stories[number];
    const { html, control, mark, said } = told.steps[step];
    const text = node("div", "walk-text");
    text.innerHTML = html;
    const steps = node("div", "walk-steps");
    const back = button("←", () => tell(number, step - 1));
    back.ariaLabel = t("Back");
    back.disabled = step === 0;
    const isLast = step === told.steps.length - 1;
    const isEnd = isLast && number === exhibit.stories.length - 1;
    const next = button(isLast ? (isEnd ? t("Done") : t("Next story")) : t("Next"), () => (isLast ? (isEnd ? close() : tell(number + 1, 0)) : tell(number, step + 1)), "primary");
    const close = () => { leaveStory(); host.write(stage.last.address, place()); };
    const quit = button("×", close, "walk-close");
    quit.ariaLabel = t("Close the story");
    steps.append(back, node("span", "", `${step + 1} / ${told.steps.length}`), next);
    walk.replaceChildren(node("strong", "", `${number + 1}. ${told.title}`), quit, text, steps);
    walk.hidden = false;
    controls.point(control);
    stage.highlight(mark, said);
    stories.open = false;
  };
  const tell = (number, step) => {
    const told = exhibit.stories[number];
    offered.remove();
    story = [number, step];
    sweep.set("");
    pinned = null;
    const isOther = told.view !== view.slug;
    view = exhibit.views.find((one) => one.slug === told.view);
    controls.set(view.defaults);
    controls.set(told.steps[step].values);
    isFresh = true;
    if (isOther) stage.say("");
    dress();
    dressStory();
    request(true);
  };
  const offered = node("div", "offer");
  const run = () => { sweep.halt(true); host.run(exhibit.slug, ask()); };
  // A first visit is offered the first story.
  const offer = () => {
    if (!exhibit.stories.length || story || host.hasSeen(exhibit.slug)) return;
    const take = button(t("A first look: {title}", { title: exhibit.stories[0].title }), () => tell(0, 0), "primary");
    const no = button("×", () => offered.remove(), "walk-close");
    no.ariaLabel = t("No, thanks");
    offered.replaceChildren(take, no);
    walk.before(offered);
  };

  return {
    root, hear, request,
    redraw: () => { stage.redraw(true); sweep.draw(); },
    dress,
    // What an address names, as the server read it.
    arrive: (found, asked) => {
      lastAsked = "";
      leaveStory();
      view = exhibit.views.find((one) => one.slug === found.view);
      pinned = found.pinned;
      controls.set({ ...view.defaults, ...found.values });
      story = found.story;
      stage.say(found.notice ?? "");
      isFresh = true;
      dress();
      if (story) dressStory();
      offer();
      take(JSON.parse(found.stage));
      sweep.set(new URLSearchParams(asked).get("sweep") ?? "");
      if (sweep.said()) host.write(stage.last.address, place());
    },
    state: () => ({ view: view.slug, values: controls.values, pinned, story, sweep: sweep.said() }),
    restore: (kept) => {
      view = exhibit.views.find((one) => one.slug === kept.view);
      controls.set(kept.values);
      ({ pinned, story } = kept);
      isFresh = true;
      dress();
      if (story) dressStory();
      sweep.set(kept.sweep);
    },
    address: () => [stage.last.address, place()],
    isBusy: () => sweep.isRunning() || stage.isBusy(),
    stopped: (status) => { if (sweep.isRunning()) sweep.halt(true); else take({ exhibit: exhibit.slug, status, busy: false }); },
  };
};

// ---- the page ----
const app = (() => {
  let element = null;
  let wired = null; // gradio's half: props, trigger, upload, server
  let home = null;
  let errata = null;
  let present = null; // slug of the exhibit that is seen, or "errata"
  let saidLanguage = null; // a language that was chosen, so that the address says it
  const exhibits = new Map();
  const query = () => new URLSearchParams(location.search);
  const isEmbedded = query().get("embed") === "1";
  const replaceState = history.replaceState.bind(history);
  let isOurs = "";

  const host = {
    get server() { return wired.server; },
    upload: (file) => wired.upload(file),
    run: (slug, ask) => {
      const other = [...exhibits].find(([one, made]) => one !== slug && made.isBusy());
      if (other) other[1].stopped(t("Stopped, since another run was started; this is what there is."));
      wired.props.value = { ask, number: (uniqueId += 1) };
      wired.trigger("submit");
    },
    stop: () => wired.trigger("stop"),
    // Another exhibit, view or story is another page of the browser's history; another setting is not.
    write: (address, place) => {
      const full = host.full(address, place);
      const key = (text) => { const q = new URLSearchParams(text); return `${q.get("tab")}/${q.get("view")}/${q.get("story")}`; };
      isOurs = full;
      // a tab that was named alone, or whose view gradio borrowed, is the same page
      const isSame = !query().has("view") && query().get("tab") === new URLSearchParams(full).get("tab");
      if (key(full) === key(location.search) || isSame) replaceState(null, "", location.pathname + full);
      else history.pushState(null, "", location.pathname + full);
      if (window.parent !== window) window.parent.postMessage({ queryString: full.replace(/^\?/, ""), hash: "" }, "https://huggingface.co");
    },
    full: (address, place = {}) => {
      const kept = [...query()].filter(([name]) => name.startsWith("__"));
      const more = new URLSearchParams([...Object.entries(place), ...(saidLanguage ? [["lang", saidLanguage]] : []),
        ...(isEmbedded ? [["embed", "1"]] : []), ...kept]).toString().replaceAll("%2C", ",").replaceAll("%3A", ":");
      return [address || "?", more].filter(Boolean).join(address && address !== "?" ? "&" : "").replace(/\?$/, "");
    },
    embeddable: (address, place) => {
      const full = new URLSearchParams(host.full(address, place));
      full.set("embed", "1");
      return `${location.origin}${location.pathname}?${full}`; // on a Space its own address, for the outer one is no frame
    },
    shareable: (address, place) => {
      const space = window.studioFiles.space;
      const base = space ? `https://huggingface.co/spaces/${space}` : location.origin + location.pathname;
      const full = new URLSearchParams(host.full(address, place));
      full.delete("embed");
      return `${base}?${full.toString().replaceAll("%2C", ",").replaceAll("%3A", ":")}`;
    },
    hasSeen: (slug) => {
      try {
        const seen = new Set(JSON.parse(localStorage.getItem("studio-seen") ?? "[]"));
        const was = seen.has(slug);
        localStorage.setItem("studio-seen", JSON.stringify([...seen.add(slug)]));
        return was;
      } catch { return true; } // a browser that keeps nothing is not asked each time
    },
  };

  const show = (slug) => {
    present = slug;
    for (const [one, made] of exhibits) made.root.hidden = one !== slug;
    home.root.hidden = slug !== null;
    errata.root.hidden = slug !== "errata";
    element.querySelectorAll(".masthead a[data-tab]").forEach((link) => {
      if ((link.dataset.tab || null) === slug) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
    });
    centre(element.querySelector(".exhibits"));
    if (slug === null) document.title = t("Scientific Spaces Studio");
    if (slug === "errata") document.title = `${t("Errata")} · ${t("Scientific Spaces Studio")}`;
  };
  const exhibitOf = (slug) => {
    if (!exhibits.has(slug)) {
      const made = makeExhibit(declared.exhibits.find((exhibit) => exhibit.slug === slug), host);
      exhibits.set(slug, made);
      element.querySelector("#studio-main").append(made.root);
    }
    return exhibits.get(slug);
  };
  // Open what an address names. A tab that was left is shown as it was, unless the address says more than its name.
  const go = async (address) => {
    const slug = new URLSearchParams(address).get("tab")?.toLowerCase();
    const isBare = [...new URLSearchParams(address).keys()].filter((name) => name !== "lang" && !name.startsWith("__")).join() === "tab";
    home.say("");
    if (!slug) { show(null); host.write("", {}); return; }
    if (slug === "errata") { show(slug); host.write("?tab=errata", {}); scrollTo(0, 0); return; }
    if (isBare && exhibits.has(slug)) {
      show(slug);
      host.write(...exhibits.get(slug).address());
      exhibits.get(slug).dress();
      return;
    }
    loadPlotly();
    let found = null;
    try { found = JSON.parse(await wired.server.arrive([address, declared.language])); }
    catch { home.say(t("The studio does not answer: is it still running?")); show(null); return; }
    if (!found.exhibit) { show(null); home.say(found.notice); return; }
    const made = exhibitOf(found.exhibit);
    const isSame = present === found.exhibit && made.state().view === found.view;
    show(found.exhibit);
    made.arrive(found, address);
    if (!isSame) scrollTo(0, 0);
  };

  const masthead = () => {
    const bar = node("header", "masthead");
    const brand = node("a", "brand");
    brand.href = "?";
    brand.dataset.tab = "";
    brand.append(node("span", "", "科学空间"), node("small", "", t("Studio")));
    const nav = node("nav", "exhibits");
    nav.ariaLabel = t("Exhibits");
    for (const exhibit of declared.exhibits) {
      const link = node("a", "", exhibit.title);
      link.href = `?tab=${exhibit.slug}`;
      link.dataset.tab = exhibit.slug;
      nav.append(link);
    }
    const errors = node("a", "errata-link", t("Errata"));
    errors.href = "?tab=errata";
    errors.dataset.tab = "errata";
    const other = Object.keys(declared.languages).find((language) => language !== declared.language);
    const language = button(declared.languages[other], () => speak(other), "language");
    language.lang = other;
    bar.append(brand, fadeEnds(nav), makeSearch(), errors, language);
    return bar;
  };

  // All texts are fetched in a language and everything is built in it; what is held is kept.
  const build = async (language) => {
    declared = await (await fetch(window.studioFiles.texts[language])).json();
    document.documentElement.lang = language === "zh" ? "zh-CN" : language;
    const kept = new Map([...exhibits].map(([slug, made]) => [slug, made.state()]));
    exhibits.clear();
    const skip = node("a", "skip", t("Skip to the content"));
    skip.href = "#studio-main";
    skip.addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
    const main = node("main");
    main.id = "studio-main";
    main.tabIndex = -1;
    home = makeHome();
    errata = makeErrata();
    errata.root.hidden = true;
    main.append(home.root, errata.root);
    document.body.classList.toggle("embed", isEmbedded);
    element.replaceChildren(skip, masthead(), main);
    for (const [slug, state] of kept) exhibitOf(slug).restore(state);
  };
  const speak = async (language) => {
    saidLanguage = language;
    const at = present;
    await build(language);
    show(at);
    if (exhibits.has(at)) await exhibits.get(at).request(); else host.write(at ? `?tab=${at}` : "", {});
  };

  // gradio's own panels borrow `view`, and leave the address without one.
  history.replaceState = (...state) => {
    replaceState(...state);
    if (present && isOurs && !query().has("view")) replaceState(null, "", location.pathname + isOurs);
  };
  addEventListener("popstate", () => { if (wired) go(location.search || "?"); });
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(input|textarea|select)$/i.test(document.activeElement?.tagName ?? "")) {
      const field = element?.querySelector(".search input");
      if (field) { event.preventDefault(); field.focus(); }
    }
  });
  const follow = () => {
    let dark = isDark();
    new MutationObserver(() => {
      if (dark === isDark()) return;
      dark = isDark();
      exhibits.forEach((made) => made.redraw());
      home?.repaint();
    }).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  };

  return {
    mount: async (root, props, trigger, upload, server) => {
      element = root.querySelector(".studio") ?? root;
      wired = { props, trigger, upload, server };
      const named = query().get("lang");
      const known = Object.keys(window.studioFiles.texts);
      if (known.includes(named)) saidLanguage = named;
      const browser = (navigator.languages ?? []).some((one) => /^zh/i.test(one)) && /^zh/i.test(navigator.language) ? "zh" : "en";
      if (query().has("tab")) loadPlotly();
      element.addEventListener("click", (event) => {
        const link = event.target.closest("a[href^='?']");
        if (!link || event.metaKey || event.ctrlKey || event.shiftKey) return;
        event.preventDefault();
        go(link.getAttribute("href"));
      });
      await build(saidLanguage ?? browser);
      follow();
      await go(location.search || "?");
    },
    wire: (props, watch) => {
      watch("value", () => {
        if (!props.value) return;
        const said = JSON.parse(props.value);
        exhibits.get(said.exhibit)?.hear(said);
      });
    },
  };
})();
window.studioMade(app);
