// ---- the opening page: a running picture, cards by theme, and the search ----
// Particles that start anywhere and settle into 科学空间: what a diffusion sampler does, with an exact target.
const settling = (canvas) => {
  const pen = canvas.getContext("2d");
  const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let targets = [];
  let state = [];
  let begun = null;
  const lay = () => {
    const width = canvas.width = canvas.offsetWidth * devicePixelRatio;
    const height = canvas.height = canvas.offsetHeight * devicePixelRatio;
    if (!width || !height) return false;
    const sketch = node("canvas");
    Object.assign(sketch, { width, height });
    const ink = sketch.getContext("2d", { willReadFrequently: true });
    const size = Math.min(height * 0.82, width / 4.4);
    ink.font = `600 ${size}px "Noto Serif CJK SC", "Songti SC", "SimSun", serif`;
    ink.textAlign = "center";
    ink.textBaseline = "middle";
    ink.fillText("科学空间", width / 2, height / 2);
    const alpha = ink.getImageData(0, 0, width, height).data;
    const spots = [];
    const stride = Math.max(2, Math.round(size / 60)); // every spot has its particle: a part of them would show as a moiré
    for (let y = 0; y < height; y += stride) for (let x = 0; x < width; x += stride) if (alpha[4 * (y * width + x) + 3] > 128) spots.push([x, y]);
    if (!spots.length) return false;
    targets = spots;
    const normal = () => Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
    state = targets.map(() => [width / 2 + normal() * width / 5, height / 2 + normal() * height / 2.4]);
    return true;
  };
  const paint = (share) => {
    const theme = THEMES[isDark() ? "dark" : "light"];
    const radius = 1.05 * devicePixelRatio;
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.fillStyle = isDark() ? "#4fb8ad" : "#0b6e69";
    pen.globalAlpha = 0.35 + 0.5 * share;
    state.forEach(([x, y], i) => {
      const [tx, ty] = targets[i];
      pen.fillRect(x + (tx - x) * share - radius, y + (ty - y) * share - radius, 2 * radius, 2 * radius);
    });
    pen.globalAlpha = 1;
    return theme;
  };
  const frame = (now) => {
    if (!canvas.isConnected) return;
    begun ??= now;
    const share = Math.min((now - begun) / 3200, 1);
    if (canvas.offsetParent) paint(1 - (1 - share) ** 3);
    if (share < 1) requestAnimationFrame(frame);
  };
  const start = () => {
    if (!lay()) return;
    begun = null;
    if (isStill) paint(1); else requestAnimationFrame(frame);
  };
  canvas.addEventListener("click", start);
  let width = 0;
  new ResizeObserver(() => { if (canvas.offsetWidth !== width) { width = canvas.offsetWidth; start(); } }).observe(canvas);
  return { repaint: () => { if (targets.length) paint(1); } };
};

const makeHome = () => {
  const root = node("div", "home");
  const hero = node("header", "home-hero");
  const canvas = node("canvas");
  canvas.role = "img";
  canvas.ariaLabel = t("Particles that settle into the characters 科学空间");
  const words = node("div");
  words.append(node("h1", "", t("Scientific Spaces Studio")),
    node("p", "", t("The mathematics of Su Jianlin's blog 科学空间, to be explored by hand: the exact truth beside every approximation, published numbers recomputed while you watch, and a link, the Python and the data for all that you see.")));
  const start = node("p", "home-start");
  const first = declared.exhibits[0];
  const link = node("a", "start", t("Start here: {question}", { question: first.question }));
  link.href = `?tab=${first.slug}`;
  link.dataset.tab = first.slug;
  const blog = node("a", "", t("The blog"));
  blog.href = "https://kexue.fm";
  const errors = node("a", "", t("Errata"));
  errors.href = "?tab=errata";
  errors.dataset.tab = "errata";
  start.append(link, blog, errors);
  words.append(start);
  hero.append(canvas, words);
  root.append(hero);
  const notice = node("p", "stage-notice");
  notice.role = "status";
  notice.hidden = true;
  root.append(notice);
  const themes = node("div", "themes");
  root.append(themes);
  for (const [theme, title] of Object.entries(declared.themes)) {
    const exhibits = declared.exhibits.filter((exhibit) => exhibit.theme === theme);
    if (!exhibits.length) continue;
    const group = node("section", "theme");
    group.style.setProperty("--cards", Math.min(exhibits.length, 4));
    group.append(node("h2", "", title));
    const cards = node("div", "cards");
    for (const exhibit of exhibits) {
      const card = node("article", "card");
      const open = node("a", "card-open");
      open.href = `?tab=${exhibit.slug}`;
      open.dataset.tab = exhibit.slug;
      const art = node("span", "card-art");
      art.ariaHidden = "true";
      art.innerHTML = exhibit.thumbnail;
      open.append(art, node("h3", "", exhibit.title), node("strong", "", exhibit.question));
      const summary = node("p");
      summary.innerHTML = exhibit.summary;
      card.append(open, summary);
      const posts = exhibit.sources.filter(([, address]) => /kexue\.fm|spaces\.ac\.cn/.test(address)).slice(0, 3);
      if (posts.length) {
        const line = node("p", "card-posts");
        line.append(t("Posts: "));
        posts.forEach(([name, address], i) => {
          const post = node("a", "", address.match(/\d+/)?.[0] ?? name);
          post.href = address;
          post.title = name;
          line.append(...(i ? [t(", ")] : []), post);
        });
        card.append(line);
      }
      cards.append(card);
    }
    group.append(cards);
    themes.append(group);
  }
  const picture = settling(canvas);
  return { root, repaint: picture.repaint, say: (text) => { notice.hidden = !text; notice.textContent = text; } };
};

// All exhibits, views and stories, by their names in every language and the words of their captions.
const makeSearch = () => {
  const root = node("div", "search");
  const field = node("input");
  Object.assign(field, { type: "search", placeholder: t("Search"), ariaLabel: t("Search views, stories and terms"), role: "combobox" });
  field.setAttribute("aria-expanded", "false");
  field.setAttribute("aria-controls", "search-found");
  const found = node("div", "search-found");
  found.role = "listbox";
  found.id = "search-found";
  found.ariaLabel = t("Search results");
  found.hidden = true;
  const plain = (html) => html.replace(/<[^>]+>/g, " ");
  const places = declared.exhibits.flatMap((exhibit) => [
    { title: exhibit.title, of: exhibit.question, query: `?tab=${exhibit.slug}`, text: [...exhibit.terms, plain(exhibit.summary), ...exhibit.sources.map(([name]) => name)] },
    ...exhibit.views.map((view) => ({ title: view.title, of: exhibit.title, query: view.query, text: [...view.terms, plain(view.caption)] })),
    ...exhibit.stories.map((story, i) => ({ title: story.title, of: `${exhibit.title} · ${t("story")}`, query: `?tab=${exhibit.slug}&story=${i + 1}.1`, text: [...story.terms, ...story.steps.map((step) => plain(step.html))] })),
  ]).concat({ title: t("Errata"), of: "", query: "?tab=errata", text: declared.errata.flatMap(({ entries }) => entries.map((entry) => plain(entry.claim + entry.truth))) }).map((place) => ({ ...place, name: `${place.title} ${place.text[0]} ${place.text[1] ?? ""}`.toLowerCase(), all: place.text.join(" ").toLowerCase() }));
  // the hit that Enter opens; the focus stays in the field
  const point = (to) => {
    const items = [...found.querySelectorAll("a")];
    at = items.length ? Math.min(Math.max(to, -1), items.length - 1) : -1;
    items.forEach((item, i) => { item.ariaSelected = String(i === at); });
    items[at]?.scrollIntoView({ block: "nearest" });
    if (at < 0) field.removeAttribute("aria-activedescendant"); else field.setAttribute("aria-activedescendant", items[at].id);
  };
  let at = -1;
  const look = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const hits = words.length ? places
      .map((place) => ({ place, rank: words.every((word) => place.name.includes(word)) ? 2 : words.every((word) => `${place.name} ${place.all}`.includes(word)) ? 1 : 0 }))
      .filter(({ rank }) => rank).sort((a, b) => b.rank - a.rank).slice(0, 9) : [];
    found.replaceChildren(...hits.map(({ place }, i) => {
      const item = node("a");
      Object.assign(item, { role: "option", id: `search-found-${i}`, tabIndex: -1, ariaSelected: "false" });
      item.href = place.query;
      item.append(node("strong", "", place.title), node("small", "", place.of));
      return item;
    }));
    if (words.length && !hits.length) found.replaceChildren(node("p", "", t("Nothing found.")));
    found.hidden = !words.length;
    field.setAttribute("aria-expanded", String(Boolean(words.length)));
    point(-1);
  };
  const close = () => { field.value = ""; look(); };
  field.addEventListener("input", look);
  root.addEventListener("keydown", (event) => {
    const hit = found.querySelectorAll("a")[Math.max(at, 0)];
    if (event.key === "Escape") { close(); field.focus(); }
    if (event.key === "Enter" && document.activeElement === field && hit) { event.preventDefault(); hit.click(); }
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      point(at + (event.key === "ArrowDown" ? 1 : -1));
    }
  });
  found.addEventListener("click", close);
  root.addEventListener("focusout", (event) => { if (!root.contains(event.relatedTarget)) found.hidden = true; });
  field.addEventListener("focus", look);
  root.append(field, found);
  return root;
};
