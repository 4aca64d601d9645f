// Without this script the page is complete: it only shows a cell's figures in a fixed place.
(function () {
  var matrix = document.querySelector(".matrix");
  if (matrix) {
    var readout = matrix.querySelector(".readout");
    var caption = readout.textContent;
    var names = matrix.querySelectorAll(".name");
    function mark(cell, on) {
      names.forEach(function (name) {
        var same = cell && (name.dataset.row === cell.dataset.row || name.dataset.column === cell.dataset.column);
        name.classList.toggle("marked", Boolean(on && same));
      });
      readout.textContent = on && cell ? cell.dataset.text : caption;
    }
    matrix.querySelectorAll(".cell").forEach(function (cell) {
      cell.addEventListener("mouseenter", function () { mark(cell, true); });
      cell.addEventListener("focus", function () { mark(cell, true); });
      cell.addEventListener("mouseleave", function () { mark(cell, false); });
      cell.addEventListener("blur", function () { mark(cell, false); });
    });
  }
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (d) { d.open = true; });
  });
})();
