// ---- the page of published numbers and claims that came out otherwise ----
const makeErrata = () => {
  const root = node("section", "errata");
  root.append(node("h1", "", t("Errata")),
    node("p", "errata-lead", t("Published numbers and claims that came out otherwise when they were computed here. Most are slips that anyone makes, in work that this studio builds on. A check holds each number, and a link shows it. Where we are wrong ourselves, please say so.")));
  for (const { exhibit: slug, entries } of declared.errata) {
    root.append(node("h2", "", declared.exhibits.find((exhibit) => exhibit.slug === slug).title));
    for (const entry of entries) {
      const item = node("article", "erratum");
      const part = (label, html, ...more) => {
        const half = node("div");
        const text = node("p");
        text.innerHTML = html;
        const foot = node("p", "erratum-foot");
        foot.append(...more);
        half.append(node("h3", "", label), text, foot);
        item.append(half);
      };
      const source = node("a", "", entry.where);
      source.href = entry.address;
      const show = node("a", "", t("See it: {view}", { view: entry.view }));
      show.href = entry.show;
      part(t("Published"), entry.claim, source);
      part(t("Computed"), entry.truth, show);
      root.append(item);
    }
  }
  return { root };
};
