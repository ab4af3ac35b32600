// ---- controls ----
// Each maker gets the declared control and `commit(value, isMoving)`, and returns its node and how to show a value.
let uniqueId = 0;
const labelled = (control, field, tag = "label") => {
  const root = node(tag, `control ${control.kind.toLowerCase()}`);
  root.append(node(tag === "fieldset" ? "legend" : "span", "control-label", control.label), field);
  if (control.help) root.append(help(control));
  return root;
};
const help = (control) => {
  const made = node("small");
  made.innerHTML = control.help;
  return made;
};

const makeRange = (control, commit) => {
  const STEPS = 400;
  const step = control.step ?? (control.integer ? 1 : (control.high - control.low) / 200);
  const number = node("input");
  const range = node("input");
  Object.assign(number, { type: "number", step: "any", ariaLabel: control.label });
  Object.assign(range, { type: "range", ariaLabel: `${control.label}, ${t("slider")}` });
  range.min = control.log ? 0 : control.low;
  range.max = control.log ? STEPS : control.high;
  range.step = control.log ? 1 : step;
  const ratio = Math.log(control.high / control.low);
  const tidy = (value) => {
    const bounded = Math.min(Math.max(value, control.low), control.high);
    if (!control.integer) return Number(bounded.toPrecision(10));
    return Math.round(control.low + step * Math.round((bounded - control.low) / step));
  };
  const fromRange = () => {
    if (!control.log) return tidy(Number(range.value));
    if (Number(range.value) === STEPS) return control.high; // three digits would stop short of 65,536
    return tidy(Number((control.low * Math.exp((ratio * range.value) / STEPS)).toPrecision(3)));
  };
  let held = null;
  const show = (value) => {
    held = value;
    number.value = typeof value === "number" ? Number(value.toPrecision(10)) : value;
    range.value = control.log ? (Math.log(value / control.low) / ratio) * STEPS : value;
    range.setAttribute("aria-valuetext", number.value);
  };
  const take = (value, isMoving) => {
    if (value === held && isMoving) return;
    held = value;
    number.value = value;
    range.setAttribute("aria-valuetext", number.value);
    commit(value, isMoving);
  };
  range.addEventListener("input", () => { pause(); take(fromRange(), true); });
  range.addEventListener("change", () => take(fromRange(), false));
  number.addEventListener("change", () => {
    const typed = Number(number.value);
    const value = number.value.trim() === "" || Number.isNaN(typed) ? held : tidy(typed);
    const isNew = value !== held;
    show(value);
    if (isNew) commit(value, false);
  });
  // Any slider can be played: from where it stands to its end, in steps that can be followed.
  let playing = false;
  const pause = () => {
    playing = false;
    play.textContent = "▶";
    play.title = t("Play");
    play.ariaLabel = t("Play {label}", { label: control.label });
  };
  const play = button("", async () => {
    if (playing) { pause(); return; }
    playing = true;
    play.textContent = "❚❚";
    play.title = t("Pause");
    play.ariaLabel = t("Pause {label}", { label: control.label });
    const [low, high] = [Number(range.min), Number(range.max)];
    const stride = Math.max(Number(range.step), (high - low) / 48);
    if (Number(range.value) + stride / 2 >= high) { range.value = low; take(fromRange(), false); }
    while (playing && play.offsetParent && Number(range.value) + stride / 2 < high) {
      await Promise.all([control.answered(), new Promise((resolve) => { setTimeout(resolve, 110); })]);
      if (!playing) break;
      range.value = Number(range.value) + stride;
      take(fromRange(), false);
    }
    pause();
  }, "play");
  pause();
  const root = node("div", "control range");
  root.append(node("span", "control-label", control.label), play, number, range);
  if (control.help) root.append(help(control));
  return { root, show };
};

// Options as pictures, of which one or several are chosen.
const makePicked = (control, commit, options) => {
  const group = node("div", "picked");
  const boxes = options.map(([value, label]) => {
    const box = node("input");
    box.type = control.several ? "checkbox" : "radio";
    box.value = value;
    const tile = node("label", "picked-tile");
    const art = node("span", "picked-art");
    art.ariaHidden = "true";
    tile.append(box, art, node("span", control.kind === "Gallery" ? "visually-hidden" : "picked-label", label));
    tile.title = label;
    group.append(tile);
    return box;
  });
  const read = (value) => (control.kind === "Gallery" ? Number(value) : value);
  const show = (value) => boxes.forEach((box) => {
    box.checked = control.several ? value.includes(box.value) : String(value) === box.value;
  });
  group.addEventListener("change", (event) => {
    if (control.several) commit(boxes.filter((box) => box.checked).map((box) => box.value), false);
    else { show(event.target.value); commit(read(event.target.value), false); }
  });
  const dress = (art) => boxes.forEach((box) => {
    const picture = art[box.value];
    const place = box.nextElementSibling;
    if (!picture) return;
    if (picture.startsWith("data:")) {
      const image = node("img");
      image.src = picture;
      image.alt = "";
      place.replaceChildren(image);
    } else place.innerHTML = picture;
  });
  return { root: labelled(control, group, "fieldset"), show, dress };
};

const makeGallery = (control, commit) =>
  makePicked(control, commit, Array.from({ length: control.high - control.low + 1 }, (_, i) => [String(control.low + i), control.names[i] ?? String(control.low + i)]));

const makeChoice = (control, commit) => {
  if (control.art) return makePicked(control, commit, control.options);
  if (!control.several && control.options.length > 4) {
    const select = node("select");
    control.options.forEach(([value, label]) => select.append(new Option(label, value)));
    select.addEventListener("change", () => commit(select.value, false));
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
    if (control.several) { commit(boxes.filter((box) => box.checked).map((box) => box.value), false); return; }
    show(event.target.value);
    commit(event.target.value, false);
  });
  return { root: labelled(control, group, "fieldset"), show };
};

const makeToggle = (control, commit) => {
  const box = node("input");
  box.type = "checkbox";
  box.addEventListener("change", () => commit(box.checked, false));
  return { root: labelled(control, box), show: (value) => { box.checked = value; } };
};

const makeText = (control, commit) => {
  const field = node(control.lines > 1 ? "textarea" : "input");
  if (control.lines > 1) field.rows = control.lines; else field.type = "text";
  field.spellcheck = false;
  let held = "";
  const say = () => { if (field.value !== held) { held = field.value; commit(held, false); } };
  field.addEventListener("change", say);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && ((control.lines ?? 1) === 1 || event.ctrlKey || event.metaKey)) say();
  });
  const spelled = (value) => (Array.isArray(value) ? value.map((one) => Number(one.toPrecision(6))).join(", ") : value ?? "");
  return { root: labelled(control, field), show: (value) => { held = spelled(value); field.value = held; } };
};

const makeDrawing = (control, commit, send) => {
  const canvas = node("canvas");
  Object.assign(canvas, { width: control.width, height: control.height });
  canvas.role = "img";
  canvas.ariaLabel = `${control.label}: ${t("draw here")}`;
  const pen = canvas.getContext("2d");
  // What is sent is black on white; a picture beneath the brush is seen through the white.
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
      catch { fault.textContent = t("The drawing did not reach the studio; draw a little more to send it again."); }
    }));
  const frame = node("div", "drawing-frame");
  const beneath = node("img");
  beneath.alt = "";
  beneath.hidden = true;
  frame.append(beneath, canvas);
  const field = node("div", "drawing-field");
  field.append(frame, button(t("Clear"), () => { clear(); commit(null, false); }), fault);
  const under = (source) => {
    beneath.hidden = !source;
    canvas.classList.toggle("over", Boolean(source));
    if (source) beneath.src = source;
  };
  return { root: labelled(control, field, "div"), show: () => {}, under };
};

const makeUpload = (control, commit, send) => {
  const isPicture = control.accept.includes(".png");
  const input = node("input");
  Object.assign(input, { type: "file", accept: control.accept.join(), ariaLabel: control.label });
  const field = node("div", "upload-field");
  const seen = node("div", "upload-seen");
  seen.role = "status";
  const show = (path, file) => {
    if (path === null || path === undefined) { seen.replaceChildren(); input.value = ""; return; }
    if (!file) return; // what this browser sent it shows already
    const picture = node("img");
    if (isPicture) { picture.src = URL.createObjectURL(file); picture.alt = file.name; }
    const isNamed = input.files[0] === file; // then the browser's own field says its name
    seen.replaceChildren(...(isPicture ? [picture] : []), ...(isNamed ? [] : [node("span", "", file.name)]), button(t("Remove"), () => { show(null); commit(null, false); }));
  };
  const take = async (file) => {
    if (!file) return;
    if (file.size > control.megabytes * 1e6) {
      seen.replaceChildren(node("span", "", t("The file is larger than {most} MB; choose a smaller one.", { most: control.megabytes })));
      return;
    }
    show("", file);
    try { await send(file); }
    catch { seen.replaceChildren(node("span", "", t("The file did not reach the studio; choose it again, or a smaller one."))); }
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
  const open = button(t("Camera"), async () => {
    try {
      const stream = await navigator.mediaDevices.getUserMedia({ video: true });
      const video = node("video");
      Object.assign(video, { srcObject: stream, autoplay: true, muted: true, playsInline: true });
      const snap = button(t("Take the picture"), () => {
        const side = Math.min(video.videoWidth, video.videoHeight);
        const canvas = node("canvas");
        canvas.width = canvas.height = Math.min(side, 512);
        const corner = [(video.videoWidth - side) / 2, (video.videoHeight - side) / 2];
        canvas.getContext("2d").drawImage(video, ...corner, side, side, 0, 0, canvas.width, canvas.height);
        canvas.toBlob((blob) => take(new File([blob], "camera.png", { type: "image/png" })));
        close(stream);
      });
      holder.replaceChildren(video, snap, button(t("Close"), () => close(stream)));
    } catch { holder.replaceChildren(open, node("small", "", t("The camera could not be opened."))); }
  });
  holder.append(open);
  return holder;
};

const MAKERS = { Range: makeRange, Choice: makeChoice, Toggle: makeToggle, Numbers: makeText, Text: makeText,
  Drawing: makeDrawing, Upload: makeUpload, Gallery: makeGallery };
const SHOWN = 6; // controls before "More"

// The controls of an exhibit. `changed(isMoving)` is called after each change; `answered` is the answer that is on its way.
const makeControls = (exhibit, upload, changed, answered) => {
  const list = node("div", "controls-list");
  const more = node("details", "more");
  more.append(node("summary", "", t("More")), node("div", "controls-list"));
  const values = structuredClone(exhibit.defaults);
  const made = {};
  const group = `studio-${uniqueId += 1}`;
  let view = null;
  const fill = () => {
    const matters = ({ when }) => {
      const others = Object.entries(when);
      return !others.length || others.some(([other, wanted]) => [values[other]].flat().some((value) => wanted.includes(value)));
    };
    const seen = view.controls.filter(matters).map(({ name }) => name);
    const isSame = (parent, names) => [...parent.children].map((child) => child.dataset.name).join() === names.join();
    for (const [parent, names] of [[list, seen.slice(0, SHOWN)], [more.lastChild, seen.slice(SHOWN)]]) {
      if (!isSame(parent, names)) parent.replaceChildren(...names.map((name) => made[name].root));
    }
    more.hidden = seen.length <= SHOWN;
    for (const { name } of view.controls) {
      if (made[name].under) made[name].under(art[name] && art[art[name].under]?.[values[art[name].under]]);
    }
  };
  const art = {};
  for (const [name, control] of Object.entries(exhibit.controls)) {
    let turn = 0; // a file that is still on its way must not undo what came after it
    const commit = (value, isMoving) => {
      turn += 1;
      values[name] = value;
      fill();
      changed(isMoving);
    };
    const send = async (file) => {
      const mine = turn += 1;
      const { path } = await upload(file);
      if (mine === turn) commit(path, false);
    };
    const integer = Number.isInteger(exhibit.defaults[name]) && exhibit.integers.has(name);
    made[name] = MAKERS[control.kind]({ ...control, integer, answered }, commit, send);
    made[name].root.dataset.name = name;
    made[name].root.querySelectorAll("[type=radio]").forEach((box) => { box.name = `${group}-${name}`; });
    made[name].show(values[name]);
  }
  return {
    list, more, values,
    dress: (found) => {
      Object.assign(art, found);
      for (const [name, pictures] of Object.entries(found)) made[name]?.dress?.(pictures);
      if (view) fill();
    },
    open: (next) => {
      view = next;
      for (const part of [list, more]) part.classList.toggle("no-play", !view.direct); // what waits for Run is not played
      fill();
    },
    // What is named is set; the rest stays as the visitor has it.
    set: (some) => {
      for (const [name, value] of Object.entries(some)) {
        if (!(name in made) || JSON.stringify(values[name]) === JSON.stringify(value)) continue;
        values[name] = value;
        made[name].show(value);
      }
      if (view) fill();
    },
    point: (name) => {
      for (const [other, { root }] of Object.entries(made)) root.classList.toggle("pointed", other === name);
      const root = made[name]?.root;
      if (root && more.contains(root)) more.open = true;
      root?.scrollIntoView({ block: "nearest" });
    },
  };
};
