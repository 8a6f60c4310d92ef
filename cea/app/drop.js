// Takes one file: dropped anywhere on the page, or chosen. It goes to the server in one request and is kept nowhere else.
export default {
  template: `
    <label class="drop" :class="{ 'drop-over': over, 'drop-small': small, 'drop-off': off }">
      <input class="drop-input" type="file" :accept="accept" :tabindex="off ? -1 : 0" @change="chosen" />
      <span class="drop-title">{{ sending ? progress : small ? 'Another photograph' : 'Drop a photograph here' }}</span>
      <span class="drop-hint" v-if="!small">or <u>choose a file</u></span>
      <span class="drop-hint" v-if="!small">{{ hint }}</span>
    </label>`,
  props: { url: String, accept: String, hint: String, bytes: Number, small: Boolean, off: Boolean },
  emits: ["taken", "refused"],
  data() {
    return { over: false, sending: false, progress: "" };
  },
  mounted() {
    this.listeners = { dragover: this.hover, dragleave: this.leave, drop: this.drop };
    for (const [kind, listener] of Object.entries(this.listeners)) window.addEventListener(kind, listener);
  },
  unmounted() {
    for (const [kind, listener] of Object.entries(this.listeners)) window.removeEventListener(kind, listener);
  },
  methods: {
    hover(event) {
      event.preventDefault();
      this.over = !this.off;
    },
    leave(event) {
      if (!event.relatedTarget) this.over = false;
    },
    drop(event) {
      event.preventDefault();
      this.over = false;
      if (!this.off && event.dataTransfer.files.length) this.send(event.dataTransfer.files[0]);
    },
    chosen(event) {
      if (!this.off && event.target.files.length) this.send(event.target.files[0]);
      event.target.value = "";
    },
    send(file) {
      if (this.sending) return;
      if (file.size > this.bytes) {
        const most = this.bytes / 1e6;
        this.$emit("refused", `${file.name}: ${(file.size / 1e6).toFixed(1)} megabytes; expected at most ${most}; restore it on the command line: cea restore`);
        return;
      }
      this.sending = true;
      this.progress = "Reading …";
      const request = new XMLHttpRequest();
      request.open("PUT", `${window.path_prefix || ""}${this.url}?name=${encodeURIComponent(file.name)}`);
      request.responseType = "json";
      request.upload.onprogress = (event) => {
        if (event.lengthComputable && event.loaded < event.total) {
          this.progress = `Reading … ${Math.round((100 * event.loaded) / event.total)} %`;
        }
      };
      request.onloadend = () => {
        this.sending = false;
        if (request.status === 200) this.$emit("taken");
        else this.$emit("refused", request.response?.error || "the server did not answer; start cea app again and reload");
      };
      request.send(file);
    },
  },
};
