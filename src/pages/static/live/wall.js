// All tiles: which there are, and which of them are in sight.

import { Tile } from "./tile.js";

const MOST_WATCHED = 64;

export class Wall {
  /**
   * @param {HTMLElement} place a list
   * @param {{watch: (ids: string[]) => void, steer: ((row: object) => void)|null}} calls `watch` is told of the streams
   *   in sight, whenever they are others
   */
  constructor(place, { watch, steer }) {
    this.place = place;
    this.watch = watch;
    this.steer = steer;
    this.tiles = new Map();
    this.sight = new IntersectionObserver((entries) => this.seen(entries), { rootMargin: "80px" });
    this.sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => this.tileOf(target)?.resized()));
  }

  /** Have tiles for these rows of a state, in their order, and for no others. */
  update(rows, at) {
    const ids = new Set(rows.map((row) => row.id));
    for (const id of [...this.tiles.keys()].filter((id) => !ids.has(id))) {
      this.remove(id);
    }
    rows.forEach((row, index) => {
      const tile = this.tiles.get(row.id) ?? this.add(row);
      if (this.place.children[index] !== tile.place) {
        this.place.insertBefore(tile.place, this.place.children[index] ?? null);
      }
      tile.update(row, at);
    });
  }

  add(row) {
    const tile = new Tile(row, this.steer);
    this.tiles.set(row.id, tile);
    this.sight.observe(tile.place);
    this.sizes.observe(tile.view);
    return tile;
  }

  remove(id) {
    const tile = this.tiles.get(id);
    this.tiles.delete(id);
    this.sight.unobserve(tile.place);
    this.sizes.unobserve(tile.view);
    tile.place.remove();
    if (tile.inSight) {
      this.tell();
    }
  }

  /** Draw a frame; resolves once it is drawn. */
  async show(frame) {
    await this.tiles.get(frame.id)?.show(frame);
  }

  seen(entries) {
    for (const { target, isIntersecting } of entries) {
      this.tileOf(target)?.see(isIntersecting);
    }
    this.tell();
  }

  tell() {
    const seen = [...this.tiles].filter(([, tile]) => tile.inSight).map(([id]) => id);
    this.watch(seen.slice(0, MOST_WATCHED));
  }

  tileOf(target) {
    return this.tiles.get(target.closest("[data-id]").dataset.id);
  }
}
