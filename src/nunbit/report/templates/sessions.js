(() => {
  const box = document.getElementById("find"), told = document.getElementById("found");
  const rows = [...document.querySelectorAll(".sessions tbody tr")];
  const texts = rows.map((row) => row.dataset.find.normalize("NFC").toLocaleLowerCase());
  const sections = [...document.querySelectorAll("main > section")];
  const show = () => {
    const words = box.value.normalize("NFC").toLocaleLowerCase().split(/\s+/).filter(Boolean);
    let n = 0;
    rows.forEach((row, at) => {
      row.hidden = !words.every((word) => texts[at].includes(word));
      n += row.hidden ? 0 : 1;
    });
    for (const section of sections) section.hidden = !section.querySelector("tbody tr:not([hidden])");
    told.textContent = words.length ? told.dataset.text.replace("{n}", n) : "";
  };
  box.addEventListener("input", show);
  show();
  document.documentElement.dataset.ready = "1";
})();
