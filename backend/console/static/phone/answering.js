// Who answers a picture: this phone, or the server. Both have `answer(canvas)`, which gives
// {outputs, decision, width, height}, or throws an Error with a sentence.

const QUALITY = 0.9; // of a JPEG
const MOST_BYTES = 2 * 1024 ** 2;
const MOST_THREADS = 4;

export class Phone {
  // Raises when the browser cannot run the model.
  static async open(base, device) {
    // Threads share memory, which needs isolation, which browsers grant with https only.
    const threads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency ?? 1, MOST_THREADS) : 1;
    try {
      return await Phone.#opened(base, device, threads);
    } catch (error) {
      if (threads === 1) throw error;
      return Phone.#opened(base, device, 1);
    }
  }

  static async #opened(base, device, threads) {
    const phone = new Phone();
    try {
      await phone.#ask({ open: { model: `${base}/model`, familiar: `${base}/familiar`, device, threads } });
    } catch (error) {
      phone.#worker.terminate();
      throw error;
    }
    return phone;
  }

  #worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });

  async answer(canvas) {
    const { width, height } = canvas;
    const { data } = canvas.getContext("2d", { willReadFrequently: true }).getImageData(0, 0, width, height);
    const { answer } = await this.#ask({ picture: { data: data.buffer, width, height } }, [data.buffer]);
    return answer;
  }

  #turn = Promise.resolve();

  // One question at a time; the next waits.
  #ask(message, moved = []) {
    const answer = this.#turn.then(() => this.#send(message, moved));
    this.#turn = answer.catch(() => {});
    return answer;
  }

  #send(message, moved) {
    return new Promise((resolve, reject) => {
      this.#worker.onmessage = ({ data }) => (data.error ? reject(new Error(data.error)) : resolve(data));
      this.#worker.onerror = (event) => reject(new Error(event.message || "no WebAssembly"));
      this.#worker.postMessage(message, moved);
    });
  }
}

export class Server {
  constructor(base, texts) {
    this.base = base;
    this.texts = texts;
  }

  async answer(canvas) {
    return (await this.#post("answers", canvas)).json();
  }

  async sendBack(canvas) {
    await this.#post("pictures", canvas);
  }

  async config() {
    return (await this.#fetch("config")).json();
  }

  async #post(path, canvas) {
    let body, quality = QUALITY;
    do {
      body = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", quality));
      quality -= 0.2;
    } while (body.size > MOST_BYTES && quality > 0);
    return this.#fetch(path, { method: "POST", body, headers: { "Content-Type": "image/jpeg" } });
  }

  async #fetch(path, options = {}) {
    let response;
    try {
      response = await fetch(`${this.base}/${path}`, { ...options, credentials: "omit" });
    } catch {
      throw new Error(this.texts?.unreachable ?? "");
    }
    if (!response.ok) {
      const error = new Error((await response.json()).detail);
      error.status = response.status;
      throw error;
    }
    return response;
  }
}
