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

// Draws the regions of an answer, each with its text above it.
export function mark(canvas, { outputs, width, height }) {
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  const size = Math.max(width, height) / 45;
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.lineWidth = size / 6;
  for (const { label, pos } of outputs) {
    if (!pos) continue;
    const corners = pos.map(([x, y]) => [x * width, y * height]);
    context.strokeStyle = INK;
    context.beginPath();
    corners.forEach(([x, y], number) => (number ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.closePath();
    context.stroke();
    const left = Math.min(...corners.map(([x]) => x)), top = Math.min(...corners.map(([, y]) => y));
    const above = Math.max(top - size * 1.4, 0), wide = context.measureText(label).width + size * 0.6;
    context.fillStyle = INK;
    context.fillRect(Math.min(left, Math.max(width - wide, 0)), above, wide, size * 1.35);
    context.fillStyle = "#fff";
    context.fillText(label, Math.min(left, Math.max(width - wide, 0)) + size * 0.3, above + size);
  }
}
