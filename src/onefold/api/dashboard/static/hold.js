// A button that acts after it was held for a while, by a finger, a mouse, Space or Enter, so that
// a touch in a pocket does nothing.
export default {
  template: `
    <button type="button" class="hold" :class="{ holding: since }" :disabled="off"
      :style="{ '--hold': ms + 'ms' }" @pointerdown="begin" @pointerup="end" @pointerleave="end"
      @pointercancel="end" @keydown.space.prevent="begin" @keydown.enter.prevent="begin"
      @keyup="end" @blur="end" @contextmenu.prevent>
      <span class="fill"></span><span class="text">{{ text }}</span>
    </button>`,
  props: { text: String, ms: Number, off: Boolean },
  emits: ["held"],
  data: () => ({ since: 0, timer: 0 }),
  beforeUnmount() {
    this.end();
  },
  methods: {
    begin() {
      if (this.since || this.off) return;
      this.since = Date.now();
      this.timer = setTimeout(() => {
        this.end();
        this.$emit("held");
      }, this.ms);
    },
    end() {
      clearTimeout(this.timer);
      this.since = 0;
    },
  },
};
