"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Tables: a click on a heading sorts by that column, a second click turns the order round.
  const value = (row, column) => {
    const raw = row.cells[column].dataset.value;
    const number = Number(raw);
    return Number.isNaN(number) ? raw : number;
  };
  for (const table of all("table.sortable")) {
    const headings = all("thead th", table);
    headings.forEach((heading, column) => heading.querySelector("button").addEventListener("click", () => {
      const downwards = heading.getAttribute("aria-sort") !== (column ? "descending" : "ascending");
      const descending = column ? downwards : !downwards;
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const rows = [...table.tBodies[0].rows];
      rows.sort((a, b) => {
        const [left, right] = [value(a, column), value(b, column)];
        return (left < right ? -1 : left > right ? 1 : 0) * (descending ? -1 : 1);
      });
      table.tBodies[0].append(...rows);
    }));
  }

  // Contents: every section by its heading.
  const contents = document.getElementById("contents");
  for (const section of all("main > section[id]")) {
    const link = document.createElement("a");
    link.href = `#${section.id}`;
    link.textContent = section.querySelector("h2").firstChild.textContent;
    contents.append(link);
  }
  contents.hidden = false;

  // Viewer: the strips' own images again, one over the other, with an edge to move.
  const viewer = document.getElementById("viewer");
  const strips = all(".strip");
  if (viewer && strips.length) {
    const stage = viewer.querySelector(".stage");
    const range = stage.querySelector("input");
    const which = document.getElementById("which");
    const sides = all("[data-side]", viewer);
    let side = "restored";
    const image = (strip, role) => strip.querySelector(`[data-role="${role}"] img`);
    const show = () => {
      const strip = strips[which.selectedIndex];
      const before = image(strip, "input");
      const [width, height] = [before.getAttribute("width"), before.getAttribute("height")];
      stage.style.aspectRatio = `${width} / ${height}`;
      stage.style.width = `min(${Math.min(860, 2 * width)}px, ${Math.round(78 * width / height)}vh)`;
      stage.querySelector(".before img").src = before.src;
      stage.querySelector(".after img").src = image(strip, side).src;
      stage.querySelector(".tag.right").textContent = side;
      viewer.querySelector("figcaption").replaceChildren(
        ...[...strip.querySelector("header p").childNodes].map((node) => node.cloneNode(true)));
      sides.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.side === side)));
    };
    strips.forEach((strip) => which.add(new Option(strip.dataset.name)));
    range.addEventListener("input", () => stage.style.setProperty("--x", `${range.value}%`));
    which.addEventListener("change", show);
    sides.forEach((button) => button.addEventListener("click", () => { side = button.dataset.side; show(); }));
    strips.forEach((strip, number) => all(".shot", strip).forEach((shot) => shot.addEventListener("click", () => {
      which.selectedIndex = number;
      if (shot.dataset.role !== "input") side = shot.dataset.role;
      strip.querySelector("header").after(viewer);
      show();
      viewer.scrollIntoView({ block: "nearest" });
    })));
    const zoom = document.getElementById("zoom");
    zoom.addEventListener("click", () => {
      zoom.setAttribute("aria-pressed", String(stage.classList.toggle("zoomed")));
    });
    stage.addEventListener("pointermove", (event) => {
      const place = stage.getBoundingClientRect();
      stage.style.setProperty("--cx", `${100 * (event.clientX - place.left) / place.width}%`);
      stage.style.setProperty("--cy", `${100 * (event.clientY - place.top) / place.height}%`);
    });
    viewer.hidden = false;
    show();
  }

  // Every command has a button that copies it.
  for (const copy of navigator.clipboard ? all(".copy") : []) {
    copy.hidden = false;
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(copy.parentElement.querySelector("code").textContent);
      copy.textContent = "copied";
    });
  }
})();
