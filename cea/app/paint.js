// A strength map painted over a picture: colour where the degradation is to act. It leaves as a grey PNG, white is full.
const LONGEST = 512; // pixels of the map's longer side

export default {
  template: `
    <div class="frame" :style="size">
      <img class="frame-picture" :src="picture" alt="the clean photograph" draggable="false" />
      <canvas ref="canvas" class="frame-picture paint" :width="columns" :height="rows"
        @pointerdown="down" @pointermove="move" @pointerup="up" @pointercancel="up"></canvas>
      <span class="tag tag-left" v-if="empty">Paint where it acts</span>
    </div>`,
  props: {
    picture: String,
    width: Number,
    height: Number,
    brush: { type: Number, default: 0.15 }, // diameter, as a share of the longer side
    erase: Boolean,
  },
  emits: ["field"],
  data() {
    return { last: null, empty: true };
  },
  computed: {
    scale() {
      return Math.min(1, LONGEST / Math.max(this.width, this.height));
    },
    columns() {
      return Math.max(1, Math.round(this.width * this.scale));
    },
    rows() {
      return Math.max(1, Math.round(this.height * this.scale));
    },
    size() {
      const ratio = this.width / this.height;
      return {
        aspectRatio: `${this.width} / ${this.height}`,
        width: `min(100%, calc(var(--stage-height) * ${ratio}), ${Math.max(2 * this.width, 320)}px)`,
      };
    },
  },
  methods: {
    point(event) {
      const box = this.$refs.canvas.getBoundingClientRect();
      return {
        x: ((event.clientX - box.left) / box.width) * this.columns,
        y: ((event.clientY - box.top) / box.height) * this.rows,
      };
    },
    down(event) {
      event.target.setPointerCapture(event.pointerId);
      this.last = this.point(event);
      this.line(this.last, this.last);
    },
    move(event) {
      if (!this.last) return;
      for (const each of event.getCoalescedEvents?.() ?? [event]) {
        const next = this.point(each);
        this.line(this.last, next);
        this.last = next;
      }
    },
    up() {
      if (!this.last) return;
      this.last = null;
      this.empty = false;
      this.$emit("field", this.grey());
    },
    line(from, to) {
      const radius = (this.brush * Math.max(this.columns, this.rows)) / 2;
      const steps = Math.max(1, Math.ceil(Math.hypot(to.x - from.x, to.y - from.y) / (radius / 4)));
      const context = this.$refs.canvas.getContext("2d");
      context.globalCompositeOperation = this.erase ? "destination-out" : "source-over";
      for (let step = 1; step <= steps; step++) {
        const x = from.x + ((to.x - from.x) * step) / steps;
        const y = from.y + ((to.y - from.y) * step) / steps;
        const soft = context.createRadialGradient(x, y, 0, x, y, radius);
        soft.addColorStop(0, "rgb(217 98 43 / 0.5)");
        soft.addColorStop(0.5, "rgb(217 98 43 / 0.3)");
        soft.addColorStop(1, "rgb(217 98 43 / 0)");
        context.fillStyle = soft;
        context.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
      }
    },
    grey() {
      const [white, whole] = [0, 1].map(() => {
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [this.columns, this.rows];
        return canvas;
      });
      let context = white.getContext("2d");
      context.drawImage(this.$refs.canvas, 0, 0);
      context.globalCompositeOperation = "source-in";
      context.fillStyle = "white";
      context.fillRect(0, 0, this.columns, this.rows);
      context = whole.getContext("2d");
      context.fillRect(0, 0, this.columns, this.rows);
      context.drawImage(white, 0, 0);
      return whole.toDataURL("image/png").split(",")[1];
    },
    clear() {
      this.$refs.canvas.getContext("2d").clearRect(0, 0, this.columns, this.rows);
      this.empty = true;
      this.$emit("field", "");
    },
  },
};
