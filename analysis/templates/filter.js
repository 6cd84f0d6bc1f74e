const filter = document.querySelector(".filter");
const rows = [...document.querySelectorAll("tr[data-family]")];
const families = [...new Set(rows.map((row) => row.dataset.family))];
filter.hidden = families.length < 2;
filter.querySelector("input").addEventListener("input", (event) => {
  const parts = event.target.value.toLowerCase().split(",").map((part) => part.trim()).filter((part) => part !== "");
  const isShown = (family) => parts.length === 0 || parts.some((part) => family.toLowerCase().includes(part));
  const shown = families.filter(isShown);
  for (const row of rows) row.hidden = !isShown(row.dataset.family);
  filter.querySelector("output").value = parts.length === 0 ? "" : `${shown.length} of ${families.length}`;
});
