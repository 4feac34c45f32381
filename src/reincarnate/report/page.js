"use strict";
// Switches, highlights, values and zoom over plots that stand without it. A plot's curves are paths on a square of
// SIDE by SIDE; data-axes says which values its sides stand for: x from, x to, y from, y to, offline updates, and the
// width that they have left of zero. Plots of one data-scale are read and zoomed together.
(() => {
  const SIDE = 1000, CLOSE = 8, STEP = 0.8;
  const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
  const svg = (name, given) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(given)) made.setAttribute(key, value);
    return made;
  };

  // ---- switches and highlights ------------------------------------------------------------------------------

  const bar = document.querySelector(".arms"), buttons = bar ? all("[data-arm]", bar) : [];
  const light = arm => {
    document.body.classList.toggle("lighted", arm !== null);
    for (const part of all(".lit")) part.classList.remove("lit");
    if (arm !== null) for (const part of all(`.${arm}`)) part.classList.add("lit");
  };
  const KEPT = "reincarnate off";  // a page that reloads itself leaves off what was switched off
  const kept = change => { try { return change(sessionStorage); } catch { return null; } };
  const turn = (button, on) => {
    button.setAttribute("aria-pressed", on);
    for (const part of all(`.plots .${button.dataset.arm}`)) part.classList.toggle("off", !on);
    kept(where => where.setItem(KEPT, all("[aria-pressed=false]", bar).map(one => one.dataset.arm).join(" ")));
    stops();
  };
  const stops = () => all(".plots").forEach(group => {  // one stop of Tab a group: ↑ and ↓ go on inside
    const there = all(".plot:not(.off)", group);
    if (there.length && !there.some(box => box.tabIndex === 0)) there[0].tabIndex = 0;
  });
  for (const button of buttons) {
    const arm = button.dataset.arm;
    button.addEventListener("click", () => turn(button, button.getAttribute("aria-pressed") !== "true"));
    for (const part of all(`button.${arm}, .label.${arm}, tr.${arm}, .small.${arm} .head, .wide .curve.${arm} .line`)) {
      part.addEventListener("pointerenter", () => light(arm));
      part.addEventListener("pointerleave", () => light(null));
    }
    button.addEventListener("focus", () => button.matches(":focus-visible") && light(arm));
    button.addEventListener("blur", () => light(null));
  }
  if (bar) {
    bar.hidden = false;
    for (const one of all("[data-all]", bar))
      one.addEventListener("click", () => buttons.forEach(button => turn(button, one.dataset.all === "true")));
  }

  // ---- numbers as people write them ---------------------------------------------------------------------------

  const number = value => {
    const told = value.toFixed(Math.abs(value) < 10 ? 2 : Math.abs(value) < 100 ? 1 : 0);
    const [whole, rest] = told.replace(/^-(?=[0.]*$)/, "").split(".");
    return whole.replace(/\B(?=(\d{3})+$)/g, ",") + (rest ? `.${rest}` : "");
  };
  const short = value => {
    const unit = [[1e9, "B"], [1e6, "M"], [1e3, "k"], [1, ""]].find(([size]) => Math.abs(value) >= size) || [1, ""];
    return `${+(value / unit[0]).toPrecision(3)}${unit[1]}`;
  };
  const round = (low, high, most) => {
    const raw = (high - low) / most, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 2.5, 5, 10].map(k => k * power).find(k => k >= raw * 0.999), found = [];
    for (let k = Math.ceil(low / step - 1e-3); k <= high / step + 1e-3; k++) found.push(+(k * step).toPrecision(12));
    return found;
  };

  // ---- what a plot shows ----------------------------------------------------------------------------------------

  const points = path => path.split("M").slice(1).map(part => {
    const told = part.match(/-?[\d.]+(?:e-?\d+)?/g).map(Number);
    return told.flatMap((x, i) => (i % 2 ? [] : [[x, told[i + 1]]]));
  });
  const read = group => {  // a curve: its class and its points [x, y, low, high]
    const line = points(group.querySelector(".line").getAttribute("d")).flat();
    const band = group.querySelector(".band");
    const ends = band ? points(band.getAttribute("d")).flatMap(part => {
      const half = part.length / 2;
      return part.slice(0, half).map((low, i) => [low[1], part[part.length - 1 - i][1]]);
    }) : [];
    const arm = [...group.classList].find(name => name.startsWith("arm-"));
    return { group, arm, at: line.map((point, i) => [...point, ...(ends[i] || [])]) };
  };
  const names = Object.fromEntries(buttons.map(button => [button.dataset.arm, button.textContent]));
  const plots = all(".plot").map(box => {
    const [x0, x1, y0, y1, offline, width] = box.dataset.axes.split(" ").map(Number);
    const marks = box.querySelector(".marks"), curves = all(".curve", marks).map(read);
    const now = box.querySelector(".now");
    return { box, marks, curves, now, last: now && now.textContent, scale: box.dataset.scale, over: box.dataset.over,
      x: at => x0 + (at / SIDE) * (x1 - x0), y: at => y1 - (at / SIDE) * (y1 - y0),
      left: x => ((x - x0) / (x1 - x0)) * SIDE, top: y => ((y1 - y) / (y1 - y0)) * SIDE, offline, width };
  });
  const scales = new Map();
  for (const plot of plots) scales.set(plot.scale, [...(scales.get(plot.scale) || []), plot]);
  const shown = plot => plot.curves.filter(curve => !curve.group.classList.contains("off"));
  const nearest = (curve, at) => curve.at.reduce((best, p) => (Math.abs(p[0] - at) < Math.abs(best[0] - at) ? p : best));
  const told = (plot, [, y, low, high]) =>
    number(plot.y(y)) + (low === undefined ? "" : ` [${number(plot.y(low))}, ${number(plot.y(high))}]`);
  const place = (plot, at) => {
    const x = plot.x(at);
    if (x < 0 && plot.offline) return `${short(((x + plot.width) / plot.width) * plot.offline)} offline updates`;
    return `${short(x)} ${plot.over}`;
  };

  // ---- values -----------------------------------------------------------------------------------------------------

  const tip = document.createElement("div"), voice = document.createElement("p");
  tip.className = "tip"; tip.hidden = true; voice.className = "hidden"; voice.setAttribute("role", "status");
  tip.setAttribute("aria-hidden", "true");
  (document.querySelector("main") || document.body).append(tip, voice);
  const clear = scale => {
    tip.hidden = true;
    for (const plot of scales.get(scale) || []) {
      for (const part of all(".cursor, .at", plot.marks)) part.remove();
      if (plot.now) plot.now.textContent = plot.last;
    }
  };
  const show = (plot, wanted) => {  // -> the position that is shown: the nearest that was measured
    clear(plot.scale);
    const [x, , wide] = plot.marks.getAttribute("viewBox").split(" ").map(Number);
    const inside = shown(plot).flatMap(curve => curve.at.map(p => p[0])).filter(at => at >= x - 1 && at <= x + wide + 1);
    if (!inside.length) return wanted;
    const at = inside.reduce((best, one) => (Math.abs(one - wanted) < Math.abs(best - wanted) ? one : best));
    for (const other of scales.get(plot.scale)) {
      other.marks.append(svg("path", { class: "cursor", d: `M${at} 0V${SIDE}` }));
      for (const curve of shown(other)) {
        const point = nearest(curve, at);
        other.marks.append(svg("path", { class: `at ${curve.arm}`, d: `M${point[0]} ${point[1]}h0` }));
        if (other.now) other.now.textContent = told(other, point);
      }
    }
    return at;
  };
  const values = (plot, at) => shown(plot).map(curve => [curve.arm, nearest(curve, at)]).sort((a, b) => a[1][1] - b[1][1]);
  const float = (plot, at, left, top) => {
    if (plot.now) return;  // its head says it
    const head = document.createElement("b");
    head.textContent = place(plot, at);
    tip.replaceChildren(head, ...values(plot, at).map(([arm, point]) => {
      const line = document.createElement("div"), [key, name, value] = ["key", "", ""].map(kind => {
        const part = document.createElement("span"); part.className = kind; return part;
      });
      line.className = arm; name.textContent = names[arm]; value.textContent = told(plot, point);
      line.append(key, name, value);
      return line;
    }));
    tip.hidden = false;
    const most = document.documentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = `${Math.max(8, Math.min(left + 16 > most ? left - tip.offsetWidth - 16 : left + 16, most)) + scrollX}px`;
    tip.style.top = `${top + 16 + scrollY}px`;
  };

  // ---- zoom ---------------------------------------------------------------------------------------------------------

  const whole = [0, 0, SIDE, SIDE];
  const spans = (marks, low, high, most, where) => round(low, high, most).map(value => [where(value), short(value)]);
  const zoom = (scale, [x, y, wide, high]) => {
    for (const plot of scales.get(scale)) {
      plot.marks.setAttribute("viewBox", `${x} ${y} ${wide} ${high}`);
      plot.box.classList.toggle("zoomed", wide < SIDE || high < SIDE);
      const few = plot.now ? 2 : 5, label = ([at, text], side, share) => {
        const part = document.createElement("span");
        part.textContent = text; part.style[side] = `${share(at) * 100}%`;
        return part;
      };
      const online = Math.max(plot.x(x), plot.offline ? 0 : -Infinity), right = plot.x(x + wide);
      const ticks = right > online ? spans(plot, online, right, few, plot.left) : [];
      if (plot.offline && plot.x(x) < 0 && (!plot.now || right <= 0)) {
        const updates = at => ((at + plot.width) / plot.width) * plot.offline;
        const back = value => plot.left((value / plot.offline) * plot.width - plot.width);
        const end = updates(Math.min(right, 0)) * (right > 0 ? 0.8 : 1);
        ticks.unshift(...spans(plot, Math.max(0, updates(plot.x(x))), end, 2, back));
      }
      plot.box.querySelector(".xs").replaceChildren(...ticks.map(one => label(one, "left", at => (at - x) / wide)));
      const rows = spans(plot, plot.y(y + high), plot.y(y), few, plot.top);
      plot.box.querySelector(".ys").replaceChildren(...rows.map(one => label(one, "bottom", at => 1 - (at - y) / high)));
    }
    const first = scales.get(scale)[0], grid = document.querySelector(`#${CSS.escape(scale)} .grid`);
    const rows = round(first.y(y + high), first.y(y), 5);
    grid.setAttribute("d", rows.map(value => `M0 ${first.top(value)}H${SIDE}`).join(""));
    clear(scale);
  };
  const view = plot => plot.marks.getAttribute("viewBox").split(" ").map(Number);
  const nearer = (plot, times, at) => {
    const [x, y, wide, high] = view(plot), span = Math.min(SIDE, Math.max(SIDE / 200, wide * times));
    const left = Math.min(Math.max(0, at - ((at - x) / wide) * span), SIDE - span);
    zoom(plot.scale, [left, y, span, high]);
  };

  // ---- pointers and keys --------------------------------------------------------------------------------------------

  for (const plot of plots) {
    const { box, marks, scale } = plot;
    let begun = null, brush = null, at = SIDE;
    const inside = event => {
      const area = marks.getBoundingClientRect(), [x, y, wide, high] = view(plot);
      const share = (value, most) => Math.min(1, Math.max(0, value / most));
      return [x + share(event.clientX - area.left, area.width) * wide, y + share(event.clientY - area.top, area.height) * high];
    };
    const drawn = event => {  // the rectangle from where the drag began; upright where it hardly rises
      const [x, y, wide, high] = view(plot), [ax, ay] = begun.at, [bx, by] = inside(event);
      const flat = event.pointerType === "touch" || Math.abs(event.clientY - begun.y) < 3 * CLOSE;
      const [top, tall] = flat ? [y, high] : [Math.min(ay, by), Math.abs(by - ay)];
      return [Math.min(ax, bx), top, Math.abs(bx - ax), tall];
    };
    const point = event => { at = show(plot, inside(event)[0]); float(plot, at, event.clientX, event.clientY); };
    const done = () => { if (brush) brush.remove(); begun = brush = null; };
    marks.addEventListener("pointerdown", event => {
      if (event.button !== 0) return;
      begun = { at: inside(event), x: event.clientX, y: event.clientY };
      point(event);
    });
    marks.addEventListener("pointermove", event => {
      if (begun && Math.abs(event.clientX - begun.x) > CLOSE) {
        if (!brush) { brush = svg("path", { class: "brush" }); marks.append(brush); marks.setPointerCapture(event.pointerId); }
        const [x, y, wide, high] = drawn(event);
        brush.setAttribute("d", `M${x} ${y}h${wide}v${high}h${-wide}Z`);
      } else point(event);
    });
    marks.addEventListener("pointerup", event => {
      const area = brush && drawn(event);
      done();
      if (area && area[2] > 0 && area[3] > 0) zoom(scale, area);
    });
    marks.addEventListener("pointercancel", done);
    marks.addEventListener("pointerleave", event => {  // what a finger touched stays until it touches elsewhere
      if (!brush) { done(); if (event.pointerType !== "touch") clear(scale); }
    });
    marks.addEventListener("dblclick", () => zoom(scale, whole));

    box.tabIndex = -1;
    const say = () => {
      at = show(plot, at);
      const area = marks.getBoundingClientRect(), [x, , wide] = view(plot);
      float(plot, at, area.left + ((at - x) / wide) * area.width, area.top);
      voice.textContent = `${place(plot, at)}: ` + values(plot, at).map(([arm, p]) => `${names[arm]} ${told(plot, p)}`).join("; ");
    };
    const beside = way => {
      const places = [...new Set(shown(plot).flatMap(curve => curve.at.map(p => p[0])))].sort((a, b) => a - b);
      return (way > 0 ? places.find(one => one > at) : places.findLast(one => one < at)) ?? at;
    };
    const go = to => {
      const there = all(".plot:not(.off)", box.closest(".plots")), next = there[there.indexOf(box) + to];
      if (!next) return;
      box.tabIndex = -1; next.tabIndex = 0; next.focus();
    };
    const keys = {
      ArrowRight: () => { at = beside(1); say(); }, ArrowLeft: () => { at = beside(-1); say(); },
      ArrowDown: () => go(1), ArrowUp: () => go(-1),
      "+": () => { nearer(plot, STEP, at); say(); }, "-": () => { nearer(plot, 1 / STEP, at); say(); },
      Escape: () => { zoom(scale, whole); say(); },
    };
    box.addEventListener("keydown", event => {
      const key = { "=": "+", "−": "-", "_": "-" }[event.key] || event.key;
      if (event.ctrlKey || event.metaKey || event.altKey || !keys[key]) return;
      event.preventDefault();
      keys[key]();
    });
    box.addEventListener("focus", () => box.matches(":focus-visible") && say());
    box.addEventListener("blur", () => clear(scale));
  }
  document.addEventListener("pointerdown", event => {
    if (!event.target.closest(".marks")) for (const scale of scales.keys()) clear(scale);
  });
  stops();
  const off = (kept(where => where.getItem(KEPT)) || "").split(" ");
  for (const button of buttons) if (off.includes(button.dataset.arm)) turn(button, false);
  document.body.classList.add("ready");
  for (const part of all(".how")) part.hidden = false;
})();
