// A table of text: everything goes in as text, so that nothing in it can be taken for markup. Rows
// are kept by their ids, so that an update touches only the cells that have changed.
export default {
  template: `
    <div class="scroll" role="region" tabindex="0" :aria-label="caption">
      <table v-if="rows.length">
        <thead>
          <tr>
            <th v-for="c in columns" :key="c.label" scope="col" :class="[c.kind, { low: c.low }]"
              :title="c.hint || undefined">{{ c.label }}</th>
          </tr>
        </thead>
        <tbody>
          <tr v-for="row in rows" :key="row.id" :class="row.mark">
            <td v-for="(c, i) in columns" :key="c.label"
              :class="[c.kind, row.cells[i].tone, { low: c.low }]" :title="row.cells[i].hint">
              <button v-if="row.cells[i].picks" type="button" class="link"
                :aria-pressed="row.mark === 'chosen'"
                @click="$emit('pick', row.id)">{{ row.cells[i].text }}</button>
              <a v-else-if="row.cells[i].href" :href="row.cells[i].href"
                :class="{ word: c.kind === 'word' }">{{ row.cells[i].text }}</a>
              <time v-else-if="row.cells[i].at" :datetime="row.cells[i].at"
                >{{ row.cells[i].text }}</time>
              <span v-else-if="row.cells[i].share !== undefined" class="bar">
                <span class="length" :style="{ width: row.cells[i].share * 100 + '%' }"></span>
                <span>{{ row.cells[i].text }}</span>
              </span>
              <span v-else-if="row.cells[i].tone && c.kind === 'word'" class="word"
                >{{ row.cells[i].text }}</span>
              <template v-else>{{ row.cells[i].text }}</template>
            </td>
          </tr>
        </tbody>
      </table>
      <p v-else class="empty">{{ empty }}</p>
    </div>`,
  props: { caption: String, columns: Array, rows: Array, empty: String },
  emits: ["pick"],
};
