"use strict";
// The controls of the page that padre3d/visual/view.py writes; plotly draws.
const scene = JSON.parse(document.getElementById("scene").textContent);
const byId = (id) => document.getElementById(id);
const view = byId("view");
const FRAME_MS = 500;
const KEPT = "kept"; // while it stays the same, plotly keeps the camera and the legend's switches
let colour = scene.colours[0].name;
let playing = false;

function buffer(text) {
  return Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
}

/** A frame's columns as numbers: coordinates were stored in cm, all x first. */
function decoded(frame) {
  if (!frame.ready) {
    const cm = new Int16Array(buffer(frame.xyz));
    const count = cm.length / 3;
    const column = (k) => Float32Array.from(cm.subarray(k * count, (k + 1) * count), (v) => v / 100);
    frame.ready = { x: column(0), y: column(1), z: column(2), height: column(2) };
    const steps = (text, top) => Float32Array.from(
      new Uint8Array(buffer(text)), (v) => (v * top) / 255);
    frame.ready.intensity = steps(frame.intensity, scene.intensity_top);
    frame.ready["time lag"] = steps(frame.lag, frame.lag_s);
    for (const boxes of [frame.found, frame.truth]) {
      if (boxes) boxes.vertices = new Float32Array(buffer(boxes.lines));
    }
  }
  return frame.ready;
}

/** The boxes of one label (null: all) with at least a score, as one line with gaps. */
function line(boxes, label, least) {
  const out = { x: [], y: [], z: [], text: [], count: 0 };
  if (!boxes) return out;
  boxes.scores.forEach((score, k) => {
    if (score < least || (label !== null && boxes.labels[k] !== label)) return;
    out.count += 1;
    for (let v = 0; v < scene.pen; v += 1) {
      const at = 3 * (k * scene.pen + v);
      const up = Number.isNaN(boxes.vertices[at]);
      out.x.push(up ? null : boxes.vertices[at]);
      out.y.push(up ? null : boxes.vertices[at + 1]);
      out.z.push(up ? null : boxes.vertices[at + 2]);
      out.text.push(boxes.texts[k]);
    }
  });
  return out;
}

function pointTrace(frame) {
  const columns = decoded(frame);
  const { low, high, unit, scale } = scene.colours.find((c) => c.name === colour);
  const bar = { title: { text: colour + unit }, thickness: 10, len: 0.4, x: 0, y: 0.75 };
  const marker = { size: Number(byId("size").value), color: columns[colour], colorscale: scale };
  Object.assign(marker, { cmin: low, cmax: high, colorbar: bar });
  const { x, y, z } = columns;
  return { type: "scatter3d", mode: "markers", name: "points", x, y, z, marker, hoverinfo: "skip" };
}

function boxTraces(frame, least) {
  decoded(frame);
  const traces = scene.classes.map(({ name, label, colour: ink }) => {
    const { count, ...columns } = line(frame.found, label, least);
    return { ...columns, name: `${name} ${count}`, line: { color: ink, width: 4 } };
  });
  if (scene.has_truth) {
    const { count, ...columns } = line(frame.truth, null, 0);
    traces.push({ ...columns, name: `ground truth ${count}`, line: { color: scene.truth_colour, width: 2 } });
  }
  return traces.map((trace) => ({
    ...trace, type: "scatter3d", mode: "lines", hoverinfo: "text", showlegend: true }));
}

function layout() {
  const ink = { color: "#8b949e", gridcolor: "#3a4350", zerolinecolor: "#3a4350" };
  const axis = (title, range) => (
    { ...ink, title: { text: title }, range, showspikes: false, backgroundcolor: "#0d1117" });
  const [x, y, z] = scene.range_m;
  const side = (range) => (range[1] - range[0]) / (x[1] - x[0]);
  const away = scene.forward_rad + Math.PI;
  return {
    uirevision: KEPT, paper_bgcolor: "#0d1117", font: { color: "#e6edf3" },
    margin: { l: 0, r: 0, t: 0, b: 0 }, legend: { uirevision: KEPT, y: 0.95 },
    scene: {
      uirevision: KEPT,
      xaxis: axis(scene.axis_labels[0], x), yaxis: axis(scene.axis_labels[1], y),
      zaxis: axis("z (m)", z), aspectmode: "manual",
      aspectratio: { x: 1.6, y: 1.6 * side(y), z: 1.6 * side(z) },
      camera: { eye: { x: 0.9 * Math.cos(away), y: 0.9 * Math.sin(away), z: 0.6 } },
    },
  };
}

const current = () => scene.frames[Number(byId("frame").value)];
const least = () => Number(byId("score").value);

function say() {
  const frame = current();
  byId("name").textContent = frame.name;
  byId("note").textContent = frame.note;
  byId("least").textContent = least().toFixed(2);
  byId("at").textContent = `${Number(byId("frame").value) + 1} of ${scene.frames.length}`;
}

function draw() {
  say();
  const traces = [pointTrace(current()), ...boxTraces(current(), least())];
  return Plotly.react(view, traces, layout(), { displaylogo: false, responsive: true });
}

function drawBoxes() {
  say();
  const traces = boxTraces(current(), least());
  const values = (key) => traces.map((trace) => trace[key]);
  const columns = { x: values("x"), y: values("y"), z: values("z"), text: values("text") };
  return Plotly.restyle(view, { ...columns, name: values("name") }, traces.map((_, k) => k + 1));
}

function next() {
  byId("frame").value = (Number(byId("frame").value) + 1) % scene.frames.length;
  draw().then(() => { if (playing) setTimeout(() => { if (playing) next(); }, FRAME_MS); });
}

function play() {
  playing = !playing;
  byId("play").textContent = playing ? "stop" : "play";
  if (playing) next();
}

for (const { name } of scene.colours) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = name;
  button.onclick = () => { colour = name; draw(); };
  byId("colours").append(button);
}
byId("frame").max = scene.frames.length - 1;
byId("frames").hidden = scene.frames.length < 2;
byId("score").value = scene.least;
byId("frame").oninput = draw;
byId("size").oninput = draw;
byId("score").oninput = drawBoxes;
byId("play").onclick = play;
draw().then(() => { document.body.dataset.drawn = "yes"; });
