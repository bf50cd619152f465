/// What a page may run: the scripts here and no other, by their hashes. A page reads the same without them.
enum PageScript: Sendable {
    /// The heads of sortable tables become buttons that sort the rows; what was not measured stays last.
    case sorting

    /// The text between the tags.
    var text: String {
        switch self {
        case .sorting: Self.sortingText
        }
    }

    private static let sortingText = #"""
        for (const table of document.querySelectorAll("table.sortable")) {
          table.classList.add("sorts");
          for (const head of table.querySelectorAll("thead th[data-column]")) {
            const index = Number(head.dataset.column);
            const value = row => row.cells[index].dataset.sort ?? row.cells[index].textContent.trim();
            const button = document.createElement("button");
            button.append(...head.childNodes);
            head.append(button);
            button.addEventListener("click", () => {
              const isDown = head.getAttribute("aria-sort") === "ascending";
              for (const other of table.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
              head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
              const order = (a, b) => {
                const [x, y] = [value(a), value(b)];
                if (x === "–" || y === "–") return (x === "–") - (y === "–");
                return (isDown ? -1 : 1) * x.localeCompare(y, "en", { numeric: true });
              };
              const number = (a, b) => {
                const [x, y] = [Number(value(a)), Number(value(b))];
                return Number.isNaN(x) || Number.isNaN(y) ? order(a, b) : (isDown ? y - x : x - y);
              };
              table.tBodies[0].append(...[...table.tBodies[0].rows].sort(number));
            });
          }
        }
        """#
}
