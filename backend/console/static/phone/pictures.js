// Pictures of the camera and of files, drawn into canvases; what was read is drawn over them.

const INK = "#066fd1";

// Starts the camera at the back, with about that many pixels across. Raises what `getUserMedia` does.
export async function startCamera(video, across) {
  const wanted = { facingMode: "environment", width: { ideal: across }, height: { ideal: across * 0.75 } };
  video.srcObject = await navigator.mediaDevices.getUserMedia({ video: wanted, audio: false });
  await video.play();
}

// The picture of a file, upright. Raises when the browser cannot read it.
export function ofFile(file) {
  return createImageBitmap(file, { imageOrientation: "from-image" });
}

// Draws a video or a picture into a canvas, its longer side at most `most` pixels.
export function draw(source, canvas, most) {
  const width = source.videoWidth ?? source.width, height = source.videoHeight ?? source.height;
  const scale = Math.min(1, most / Math.max(width, height));
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff"; // under what is transparent, as the server lays it on white
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
}

// Draws the regions of an answer, each with its text above it: as large as the region is high, within what can be
// read on the screen and what leaves the lines around it readable.
export function mark(canvas, { outputs, width, height }) {
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  const pixel = width / Math.max(canvas.clientWidth, 1); // of the screen, in pixels of the picture
  context.lineWidth = 2 * pixel;
  context.textBaseline = "bottom";
  for (const { label, pos } of outputs) {
    if (!pos) continue;
    const corners = pos.map(([x, y]) => [x * width, y * height]);
    const [left, top] = [0, 1].map((axis) => Math.min(...corners.map((corner) => corner[axis])));
    const bottom = Math.max(...corners.map(([, y]) => y));
    context.strokeStyle = INK;
    context.beginPath();
    corners.forEach(([x, y], number) => (number ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.closePath();
    context.stroke();
    chip(context, label, left, top, Math.min(Math.max((bottom - top) * 0.6, 8 * pixel), 14 * pixel));
  }
}

function chip(context, text, left, top, size) {
  context.font = `600 ${size}px system-ui, sans-serif`;
  const wide = context.measureText(text).width + size * 0.6, high = size * 1.15;
  const x = Math.max(Math.min(left, context.canvas.width - wide), 0), y = Math.max(top, high);
  context.fillStyle = INK;
  context.fillRect(x, y - high, wide, high);
  context.fillStyle = "#fff";
  context.fillText(text, x + size * 0.3, y);
}
