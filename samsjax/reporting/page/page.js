
"use strict";
(() => {
  // One order of words for everybody: digits inside names count as numbers, upper and lower case are the same.
  const words = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const plain = (text) => text.replace(/[\u202f\u00a0]/g, "").replace(/\u2212/g, "-").toLowerCase();

  function compare(kind, column, sign) {
    const text = (row) => row.cells[column].textContent.trim();
    const missing = (row) => (kind === "text" ? text(row) === "\u2014" : row.cells[column].dataset.v === undefined);
    const value = (row) => {
      const stored = row.cells[column].dataset.v;
      return stored === "inf" ? Infinity : stored === "-inf" ? -Infinity : Number(stored);
    };
    return (a, b) => {
      if (missing(a) || missing(b)) return missing(a) - missing(b);
      if (kind === "text") return sign * words.compare(text(a), text(b));
      const [x, y] = [value(a), value(b)];
      return x === y ? 0 : sign * (x < y ? -1 : 1);
    };
  }

  function setUp(box) {
    const table = box.querySelector("table");
    const body = table.tBodies[0];
    const given = Array.from(body.rows);
    const limit = Number(box.dataset.shown);
    const search = box.querySelector("input");
    const count = box.querySelector("output");
    const foot = box.querySelector(".foot");
    const more = box.querySelector(".more");
    const texts = new Map();
    let order = given;
    let everything = false;

    const textOf = (row) => {
      if (!texts.has(row)) texts.set(row, plain(Array.from(row.cells, (cell) => cell.textContent).join(" ")));
      return texts.get(row);
    };

    function show() {
      const wanted = search ? plain(search.value).split(/\s+/).filter(Boolean) : [];
      let matching = 0;
      let shown = 0;
      for (const row of order) {
        const fits = wanted.every((word) => textOf(row).includes(word));
        matching += fits;
        const visible = fits && (everything || shown < limit);
        shown += visible;
        if (row.hidden === visible) row.hidden = !visible;
      }
      if (count) {
        const which = wanted.length ? `${matching} of ${given.length} rows match` : `${given.length} rows`;
        count.textContent = shown < matching ? `${which}, ${shown} shown` : which;
      }
      foot.hidden = matching <= limit;
      more.textContent = everything ? `Show the first ${limit}` : `Show all ${matching} rows`;
    }

    function sort(header) {
      const kind = header.dataset.kind;
      const first = kind === "text" ? "ascending" : "descending";
      const second = kind === "text" ? "descending" : "ascending";
      const now = header.getAttribute("aria-sort");
      const next = now === null ? first : now === first ? second : null;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      order = given;
      if (next) {
        header.setAttribute("aria-sort", next);
        order = given.slice().sort(compare(kind, header.cellIndex, next === "ascending" ? 1 : -1));
      }
      body.append(...order);
      show();
    }

    for (const header of table.tHead.rows[0].cells) {
      header.querySelector("button").addEventListener("click", () => sort(header));
    }
    more.addEventListener("click", () => {
      everything = !everything;
      show();
    });
    if (search) {
      search.addEventListener("input", show);
      search.parentElement.hidden = false;
    }
    show();
  }

  document.querySelectorAll(".table").forEach(setUp);

  // What is folded is unfolded on paper, and folded again afterwards.
  let unfolded = [];
  addEventListener("beforeprint", () => {
    unfolded = Array.from(document.querySelectorAll("details:not([open])"));
    unfolded.forEach((part) => (part.open = true));
  });
  addEventListener("afterprint", () => unfolded.forEach((part) => (part.open = false)));
})();
