// Two pictures in one frame: the first, and from a line to the right the second, which a mouse, finger or key moves.
export default {
  template: `
    <div class="frame" :style="size">
      <img class="frame-picture" :src="before" :alt="leftLabel" draggable="false" />
      <template v-if="after">
        <img class="frame-picture" :src="after" :alt="rightLabel" draggable="false"
          :style="{ clipPath: 'inset(0 0 0 ' + at + '%)', opacity: strength }" />
        <span class="tag tag-left" v-show="at > 14">{{ leftLabel }}</span>
        <span class="tag tag-right" v-show="at < 86">{{ rightLabel }}</span>
        <div class="divider" :style="{ left: at + '%' }"><span class="grip"></span></div>
        <div class="glass" role="slider" tabindex="0" aria-valuemin="0" aria-valuemax="100" :aria-valuenow="Math.round(at)"
          :aria-label="leftLabel + ' and ' + rightLabel" @pointerdown="down" @pointermove="move" @keydown="key"></div>
      </template>
      <img v-if="overlay" class="frame-picture frame-overlay" :src="overlay" alt="" draggable="false" />
    </div>`,
  props: {
    before: String,
    after: String,
    overlay: String,
    strength: { type: Number, default: 1 },
    width: Number,
    height: Number,
    leftLabel: { type: String, default: "before" },
    rightLabel: { type: String, default: "after" },
  },
  data() {
    return { at: 50 };
  },
  computed: {
    size() {
      const ratio = this.width / this.height;
      return {
        aspectRatio: `${this.width} / ${this.height}`,
        width: `min(100%, calc(var(--stage-height) * ${ratio}), ${Math.max(2 * this.width, 320)}px)`,
      };
    },
  },
  methods: {
    down(event) {
      event.target.setPointerCapture(event.pointerId);
      this.to(event);
    },
    move(event) {
      if (event.buttons || event.pointerType === "touch") this.to(event);
    },
    to(event) {
      const box = this.$el.getBoundingClientRect();
      this.at = Math.min(100, Math.max(0, (100 * (event.clientX - box.left)) / box.width));
    },
    key(event) {
      const steps = { ArrowLeft: -2, ArrowRight: 2, Home: -100, End: 100 };
      if (!(event.key in steps)) return;
      event.preventDefault();
      this.at = Math.min(100, Math.max(0, this.at + steps[event.key]));
    },
  },
};
