// Draws each figure that stands in the page as JSON. Nothing is fetched and nothing is sent.
"use strict";
for (const place of document.querySelectorAll("[data-figure]")) {
  const figure = JSON.parse(document.getElementById(place.dataset.figure).textContent);
  figure.layout.autosize = true;
  Plotly.newPlot(place, figure.data, figure.layout, { responsive: true, displayModeBar: false });
}
document.documentElement.dataset.drawn = document.querySelectorAll(".js-plotly-plot").length;
