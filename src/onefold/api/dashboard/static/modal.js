// The browser's own dialog: it keeps the focus within, gives it back, and closes on Escape.
export default {
  template: `<dialog :aria-label="label" @cancel.prevent="$emit('shut')"><slot></slot></dialog>`,
  props: { open: Boolean, label: String },
  emits: ["shut"],
  mounted() {
    this.sync();
  },
  watch: {
    open() {
      this.$nextTick(() => this.sync());
    },
  },
  methods: {
    sync() {
      if (this.open && !this.$el.open) this.$el.showModal();
      if (!this.open && this.$el.open) this.$el.close();
    },
  },
};
