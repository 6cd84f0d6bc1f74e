for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const key = (row, column) => row.cells[column].dataset.value ?? "";
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const numeric = head.dataset.kind === "number";
    const next = { ascending: "descending", descending: "ascending" };
    const order = next[head.getAttribute("aria-sort")] ?? (numeric ? "descending" : "ascending");
    const sign = order === "ascending" ? 1 : -1;
    const compare = (one, other) => {
      const [a, b] = [key(one, column), key(other, column)];
      if (a === "" || b === "") return (a === "") - (b === "");
      return sign * (numeric ? a - b : a.localeCompare(b));
    };
    const isBaseline = (row) => row.classList.contains("baseline");
    const rows = [...body.rows].sort((one, other) => isBaseline(one) - isBaseline(other) || compare(one, other));
    body.append(...rows);
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
  }));
}
