"use strict";
// The little that HTML cannot do alone. Everything works without it, but for the picture of the graph.

// A dangerous form asks once more; where it was asked before, the form says so itself.
document.addEventListener("submit", (event) => {
  const question = event.target.getAttribute("data-confirm");
  if (question && !window.confirm(question)) event.preventDefault();
}, true);

// On a narrow window the navigation is a line that scrolls: begin where one is.
const pagesNav = document.querySelector(".side nav ul");
const here = pagesNav && pagesNav.querySelector("[aria-current]");
if (here) pagesNav.scrollLeft = here.offsetLeft - pagesNav.offsetLeft - 16;

// The graph around a memory. Colours are those of the style sheet, so that light and dark need no second set.
const graph = document.getElementById("graph");
if (graph && window.cytoscape) {
  const css = getComputedStyle(document.documentElement);
  const colour = (name) => css.getPropertyValue("--" + name).trim();
  const show = (found) => {
    const elements = found.nodes.map((node) => ({ data: node, classes: node.sort + (node.hops ? "" : " centre") }))
      .concat(found.edges.map((edge, i) => ({ data: { id: "e" + i, ...edge } })));
    const picture = window.cytoscape({
      container: graph, elements, minZoom: 0.3, maxZoom: 2.5, 
      style: [
        { selector: "node", style: { label: "data(label)", "font-size": 12, "font-family": "system-ui, sans-serif", color: colour("ink"),
          "text-wrap": "wrap", "text-max-width": 130, "text-valign": "bottom", "text-margin-y": 4, width: 16, height: 16,
          "background-color": colour("generated"), "text-background-color": colour("sunk"), "text-background-opacity": 0.8, "text-background-padding": 2 } },
        { selector: ".entity", style: { shape: "round-diamond", width: 22, height: 22, "background-color": colour("merged"), "font-weight": 600 } },
        { selector: ".centre", style: { width: 30, height: 30, "background-color": colour("accent") } },
        { selector: "edge", style: { width: 1.2, "line-color": colour("strong-line"), "target-arrow-color": colour("strong-line"),
          "target-arrow-shape": "triangle", "arrow-scale": 0.8, "curve-style": "bezier", label: "data(relation)", "font-size": 9, color: colour("soft"),
          "text-rotation": "autorotate", "text-background-color": colour("sunk"), "text-background-opacity": 0.9 } },
        { selector: "edge[relation = 'mentions']", style: { label: "", "line-style": "dotted", "target-arrow-shape": "none" } },
      ],
      // Steps from the centre are rings around it; too many for rings find their own places.
      layout: found.nodes.length <= 40
        ? { name: "concentric", concentric: (node) => 9 - node.data("hops"), levelWidth: () => 1, minNodeSpacing: 55, padding: 30, startAngle: 0.4 }
        : { name: "cose", animate: false, padding: 24, nodeRepulsion: () => 20000, idealEdgeLength: () => 90 },
    });
    if (picture.zoom() > 1.15) { picture.zoom(1.15); picture.center(); }
    picture.on("tap", "node.memory", (event) => { location.href = graph.dataset.root + "/memories/" + event.target.id(); });
    graph.dataset.ready = found.nodes.length;
  };
  fetch(graph.dataset.source, { headers: { "HX-Request": "true" } })
    .then((answer) => answer.ok ? answer.json().then(show) : Promise.reject(new Error(answer.status)))
    .catch(() => { graph.textContent = "The graph could not be read."; });
}
